"""The README and the pages of docs: links lead somewhere, and commands are such as the entry points take."""

import argparse
import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "analysis/reference/README.md"]
}
OURS = re.compile(
    r"(?:study/(?:sweep|train|evaluate|prepare|export)|analysis/report)\.py|benchmarks\.tabular\.simulate"
)


def commands_of(text: str) -> list[list[str]]:
    """Our commands in indented or fenced blocks, from the script on; those that leave something out by ... are not."""
    fenced = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE))
    indented = "\n".join(re.findall(r"^    (.*)$", text, flags=re.MULTILINE))
    lines = f"{fenced}\n{indented}".replace("\\\n", " ").splitlines()
    found = []
    for line in (line for line in lines if OURS.search(line) and "..." not in line):
        words = shlex.split(line, comments=True)
        start = next((place for place, word in enumerate(words) if OURS.fullmatch(word)), None)
        if start is not None:
            found.append(words[start:])
    return found


COMMANDS = [(page, command) for page, text in PAGES.items() for command in commands_of(text)]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", PAGES[page]):
        assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_there_are_commands_of_every_entry_point() -> None:
    assert {command[0] for _, command in COMMANDS} >= {
        "study/sweep.py",
        "study/train.py",
        "study/evaluate.py",
        "study/prepare.py",
        "study/export.py",
        "benchmarks.tabular.simulate",
        "analysis/report.py",
    }


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}-{command[0]}" for page, command in COMMANDS])
def test_commands_are_understood(page: str, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(command[0].removesuffix(".py").replace("/", "."))
    try:
        options = module._parse(command[1:])
    except SystemExit as refusal:
        pytest.fail(f"{page}: {shlex.join(command)}: {refusal.code}: {capsys.readouterr().err}")
    assert isinstance(options, argparse.Namespace)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", "--space quick --interpolate 1"), ("--interpolate 0", "--space quick"), ("--space=aesop", "--interpolate 1")],
)
def test_the_options_of_make_study_replace_its_own(given: str, expected: str) -> None:
    lines = subprocess.run(
        ["make", "-n", "study", f"ARGS={given}"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    (command,) = (line for line in lines if "study/sweep.py" in line)
    options = importlib.import_module("study.sweep")._parse(shlex.split(command)[2:])
    assert isinstance(options, argparse.Namespace)
    assert expected in " ".join(command.split())
