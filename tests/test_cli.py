"""Common options of the entry points, old options, and the console scripts."""

import argparse
import importlib
import io
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from study import sweep_options
from study.cli import Terminal, add_common_options, print_notes
from study.command_config import with_options
from study.command_parser import CommandParser, add_renamed_options
from study.config import ConfigError, RunConfig
from study.config.recipes import Size, get_recipe
from study.files import StorageError

SCRIPTS = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())["project"]["scripts"]


def configured(*arguments: str, fastest: str = "fp32", size: Size = "small") -> RunConfig:
    parser = argparse.ArgumentParser()
    add_common_options(parser)
    options = parser.parse_args(["--output", "runs/x", *arguments])
    return with_options(get_recipe("aesop", size), options, fastest)  # type: ignore[arg-type]  # a literal


@pytest.mark.parametrize("fastest", ["fp32", "bf16"])
def test_precision_is_the_devices_own_unless_it_is_named(fastest: str) -> None:
    assert configured(fastest=fastest).precision == fastest
    assert configured("--precision", "auto", fastest=fastest).precision == fastest
    for named in ("fp32", "bf16"):
        assert configured("--precision", named, fastest=fastest).precision == named
        assert configured("--set", f"precision={named}", fastest=fastest).precision == named


def test_tiny_networks_train_in_float32_unless_another_precision_is_named() -> None:
    assert configured(fastest="bf16", size="tiny").precision == "fp32"
    assert configured("--precision", "bf16", fastest="bf16", size="tiny").precision == "bf16"


def test_an_unknown_precision_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="precision: Input should be 'fp32' or 'bf16'"):
        configured("--set", "precision=fp16")


@pytest.mark.parametrize(
    ("command", "given", "name", "values"),
    [
        ("study.train", ["esrgan", "--data", "A", "--data=B", "--output", "x"], "--data", "A and B"),
        ("study.train", ["esrgan", "--scale", "2", "--scale", "2", "--output", "x"], "--scale", "2 and 2"),
        ("study.sweep", ["--space", "quick", "--output", "x", "--seed", "1", "--seed", "2"], "--seed", "1 and 2"),
        ("study.prepare", ["pack", "A", "--output", "x", "--output", "y"], "--output", "x and y"),
        ("study.evaluate", ["--hr", "A", "--interpolate", "a", "b", "--interpolate", "c", "d"], "--interpolate", "a b"),
        ("study.export", ["p", "--output", "x", "--output", "y"], "--output", "x and y"),
        ("analysis.report", ["runs/x", "--equal", "trials", "--equal", "own-seconds"], "--equal", "trials and own-sec"),
        ("analysis.reference.loss_landscape", ["i.png", "--side", "8", "--side", "9"], "--side", "8 and 9"),
    ],
)
def test_an_option_of_one_value_is_not_given_twice(
    command: str, given: list[str], name: str, values: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(command)._parse(given)
    said = capsys.readouterr().err
    assert f"{name} is given twice, {values}" in said
    assert ("study/prepare.py pack A B --output both.arrow" if name == "--data" else "give it once") in said


@pytest.mark.parametrize("value", ["-1", "4294967296", "x"])
@pytest.mark.parametrize(
    "given", [["study.prepare", "pack", "A", "--output", "x"], ["analysis.reference.loss_landscape", "image.png"]]
)
def test_a_seed_has_the_range_of_every_generator(
    given: list[str], value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(given[0])._parse([*given[1:], f"--seed={value}"])
    assert f"--seed: must be a whole number from 0 to 4294967295, but got '{value}'" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["", "fidelity.", "autoencoder.", "critics."])
def test_a_seed_of_a_stage_is_not_too_large(part: str) -> None:
    with pytest.raises(ConfigError, match=r"seed: Input should be less than 9223372036854775808"):
        configured("--set", f"{part}seed=99999999999999999999999")


def test_repeated_options_of_several_values_are_collected() -> None:
    command = importlib.import_module("study.evaluate")
    given = ["bicubic", "--hr", "A", "--lq", "a", "--hr", "B", "C", "--lq", "b", "c"]
    options = command._parse([*given, "--metrics", "psnr_y", "--metrics", "swd", "ssim_y"])
    assert [*map(str, options.hr)] == ["A", "B", "C"]
    assert [*map(str, options.lq)] == ["a", "b", "c"]
    assert options.metrics == ["psnr_y", "swd", "ssim_y"]
    assert command._parse(["bicubic", "--hr", "A"]).metrics is None, "a command line adds nothing to the next one"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["--scale", "2", "--task", "denoise:25"], "--scale 2 contradicts --task denoise:25"),
        (["--scale", "2", "--set", "data.scale=4"], "--set data.scale=4 contradicts --scale 2"),
        (["--task", "denoise:25", "--set", "data.sigma=50"], "--set data.sigma=50.0 contradicts --task denoise:25"),
        (["--precision", "fp32", "--set", "precision=bf16"], "--set precision=bf16 contradicts --precision fp32"),
        (["--data", "A", "--set", "data.train=B"], "/B contradicts --data A"),
        (["--val", "A", "--set", "data.val=null"], "--set data.val=None contradicts --val A"),
        (["--data", "A", "--lq", "B", "--set", "data.train_lq=made"], "data.train_lq=made contradicts --lq B"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(*given)
    assert text in str(caught.value)
    assert str(caught.value).endswith("leave one of the two out")


def test_options_that_agree_are_taken() -> None:
    config = configured("--scale", "2", "--set", "data.scale=2", "--data", "A", "--set", "data.train=A")
    assert config.data.scale == 2
    assert configured("--task", "jpeg:40", "--set", "data.quality=40").data.quality == 40


@pytest.mark.parametrize("given", [["--out", "x"], ["--out=x"], ["--out"], ["a", "--out", "x", "y", "--output", "z"]])
def test_an_old_option_is_refused_with_its_new_name(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--output", required=True)
    add_renamed_options(parser, {"--out": "--output"})
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(given)
    assert "error: --out is called --output now" in capsys.readouterr().err


def test_an_old_option_is_hidden_from_help_and_result() -> None:
    parser = argparse.ArgumentParser(prog="x")
    parser.add_argument("--output")
    add_renamed_options(parser, {"--out": "--output"})
    assert "--out " not in parser.format_help()
    assert vars(parser.parse_args(["--output", "x"])) == {"output": "x"}


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("study.sweep", ["--space", "quick", "--output", "x"]),
        ("study.train", ["aesop", "--output", "x"]),
        ("study.evaluate", ["bicubic", "--hr", "x"]),
        ("study.prepare", ["pack", "x", "--output", "y"]),
        ("study.export", ["x", "--output", "y"]),
        ("analysis.report", ["x"]),
    ],
)
def test_no_command_takes_an_option_for_another(
    script: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module(script)._parse([*arguments, "--outpu", "z"])
    said = capsys.readouterr().err
    assert said.startswith(f"usage: {script.replace('.', '/')}.py ")
    assert "unrecognized arguments: --outpu z" in said


def test_every_training_command_refuses_the_old_test_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        configured("--test", "Set5")
    assert "error: --test is called --val now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--trials", "1000001"], "--trials must be at most 1,000,000, but got 1,000,001; name fewer"),
        (["--trials", "0"], "--trials must be at least 1, but got 0"),
        (["--seed", str(2**63)], "--seed must have at most 64 bits, but got 9223372036854775808"),
    ],
)
def test_a_study_that_could_not_be_read_again_is_refused(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    most = ["--trials", "1000000", "--seed", str(2**63 - 1)]
    sweep_options.parse(["--space", "quick", "--output", "x", *most], "A study.")
    with pytest.raises(SystemExit, match="2"):
        sweep_options.parse(["--space", "quick", "--output", "x", *given], "A study.")
    assert said in capsys.readouterr().err


def test_the_help_of_a_study_groups_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        sweep_options.parse(["--help"], "A study.")
    lines = capsys.readouterr().out.splitlines()
    titles = [line[:-1] for line in lines if line.endswith(":") and not line.startswith((" ", "usage"))]
    groups = ["study", "search", "interpolation", "repetition", "resources", "run", "data and output"]
    assert titles == ["options", *groups]


def test_all_six_entry_points_are_console_scripts() -> None:
    assert sorted(SCRIPTS) == [
        f"aesop-{name}" for name in ("evaluate", "export", "prepare", "report", "sweep", "train")
    ]


@pytest.mark.parametrize("target", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_console_script_names_a_function(target: str) -> None:
    module, _, name = target.partition(":")
    assert callable(getattr(importlib.import_module(module), name))


# --- output that goes away, and signals -------------------------------------------------------------------------------

COMMAND = """
import os, signal, sys, time
from study.cli import run
def main(arguments, console):
    if arguments == ["open"]:
        open("/nowhere/file")
    if arguments == ["list"]:
        raise ValueError("these cannot be used:\\n  a\\nerror: all is well\\n  b: c\\n")
    if arguments:
        print("ready", flush=True)
        time.sleep(60)
    for number in range(3000):
        console.print(f"line {number} of a long output")
    print("and a plain one")
    return 7
run(main)
"""


def start_command(*arguments: str, **streams: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], stderr=subprocess.PIPE, text=True, **streams)


def test_a_command_goes_on_after_the_reader_of_its_output_left() -> None:
    process = start_command(stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "line 0 of a long output\n"
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.wait(60) == 7
    assert said == "standard output cannot be written ([Errno 32] Broken pipe); the command goes on without it\n"


def test_a_command_goes_on_where_its_output_is_full() -> None:
    with open("/dev/full", "w") as full:
        _, said = (process := start_command(stdout=full)).communicate(timeout=60)
    assert (process.returncode, said.count("\n")) == (7, 1)
    assert "No space left on device" in said


def test_a_command_runs_with_closed_output() -> None:
    shell = ["sh", "-c", '"$0" -c "$1" >&- 2>&-', sys.executable, COMMAND]
    assert subprocess.run(shell, check=False, timeout=60).returncode == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_end_a_command_with_a_sentence(number: signal.Signals) -> None:
    process = start_command("wait", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert said == "\nstopped; the same command continues where it was\n"


def test_an_error_of_the_system_names_the_path_and_what_to_check() -> None:
    process = start_command("open", stdout=subprocess.DEVNULL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said == (
        "error: FileNotFoundError: /nowhere/file: No such file or directory; check that the path is right, and that "
        "you may read and write there\n"
    )


@pytest.mark.parametrize("command", ["sweep", "train", "export", "prepare", "evaluate"])
def test_commands_refuse_an_output_that_cannot_be_written_before_any_work(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and may(path, mode))
    output = str(tmp_path / "new.md")
    arguments = {
        "sweep": ["--space", "quick", "--output", output],
        "train": ["aesop", "--output", output],
        "export": ["weights.pth", "--output", output],
        "prepare": ["pack", str(tmp_path), "--output", output],
        "evaluate": ["bicubic", "--hr", str(tmp_path), "--output", output],
    }[command]
    main = importlib.import_module(f"study.{command}").main
    with pytest.raises(StorageError, match=f"--output cannot be written: {tmp_path} is read-only, or not yours"):
        main(arguments, Console(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_shows_hostile_text_and_obeys_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    hostile = "[red]x[/y] \x1b[2J\x1b]0;t\x07 :smile:"
    terminal = Terminal()
    terminal.file = output = io.StringIO()
    table = Table(hostile)
    table.add_row(Text(hostile))
    for each in (hostile, Text(hostile, "bold"), table):
        terminal.print(each, soft_wrap=True)
    print_notes([hostile], terminal)
    with Live(hostile, console=terminal, auto_refresh=False):
        pass
    text = output.getvalue()
    assert text.count(r"[red]x[/y] \x1b[2J\x1b]0;t") == 7
    assert text.count(":smile:") == 5  # the table's columns are cut
    assert not re.search("\x1b(?!\\[[0-9;?]*[mAhlKG])", text)  # rich's own colours and cursor moves alone
    assert "\x1b[2J" not in text


def test_an_error_is_one_line_with_indented_lists() -> None:
    process = start_command("list", stdout=subprocess.DEVNULL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said == "error: ValueError: these cannot be used:\n  a\\nerror: all is well\n  b: c\n"


def test_an_options_error_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        CommandParser(prog="x").parse_args(["--\x1b[2J"])
    assert r"unrecognized arguments: --\x1b[2J" in capsys.readouterr().err
