"""The remedies that messages name: every option and field exists, and what a message advises is accepted."""

import argparse
import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console

from study import sweep
from study.command_parser import CommandParser
from study.config import RunConfig, known_paths
from study.config.overrides import RENAMED_FIELDS
from study.models import backbones
from study.training.preflight import MissingWeights

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("study.sweep", "study.train", "study.evaluate", "study.prepare", "study.export", "analysis.report")
FOREIGN = {  # of ray, git, mlflow
    *("--head", "--working-dir"),
    *("--abbrev", "--always", "--dirty"),
    *("--backend-store-uri", "--experiment-id", "--run-id"),
}


def texts() -> Iterator[tuple[str, str]]:
    """The texts in the source that are no docstrings, with their place."""
    for path in sorted([*(ROOT / "study").rglob("*.py"), *(ROOT / "analysis").rglob("*.py")]):
        if "reference" in path.parts:  # scripts with parsers of their own
            continue
        tree = ast.parse(path.read_text())
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


def options_of_commands(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every option of every command and subcommand, as the parsers have them."""
    parsers: list[argparse.ArgumentParser] = []
    original = argparse.ArgumentParser.parse_args

    def keep(self: argparse.ArgumentParser, *given: object, **others: object) -> object:
        parsers.append(self)
        return original(self, ["--help"])

    monkeypatch.setattr(CommandParser, "parse_args", keep)
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            importlib.import_module(command)._parse([])
    for parser in parsers:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers.extend(action.choices.values())
    return {option for parser in parsers for option in parser._option_string_actions}


def test_every_option_that_a_text_names_exists(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = options_of_commands(monkeypatch) | FOREIGN
    assert {"--set", "--grace-period", "--recipe", "--networks", "--images"} <= known
    named = {(option, place) for place, text in texts() for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)}
    assert len(named) > 100
    assert sorted((option, place) for option, place in named if option not in known) == []


def test_every_field_that_a_text_names_exists() -> None:
    known = {*known_paths(), *RENAMED_FIELDS, "budget.json", "generator.pth", "data.mdb"}  # the last three are files
    parents = {path.rpartition(".")[0] for path in known} - {""}
    sections = "|".join(sorted(name for name in RunConfig.model_fields if name in parents))
    pattern = re.compile(rf"(?<![\w./-])(?:{sections})(?:\.[a-z][a-z0-9_]*)+(?![\w/(*{{])")
    named = {(field, place) for place, text in texts() for field in pattern.findall(text)}
    assert len(named) > 50
    unknown = sorted((field, place) for field, place in named if field not in known | parents)
    assert unknown == []


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with SqueezeNet's weights alone, no cache and no network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    monkeypatch.setattr(backbones, "_download_within", lambda *_: "there is no network in tests")
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "squeezenet1_1_features.pth").touch()
    return folder


def inputs(*given: str) -> sweep.StudyInputs:
    options = sweep._parse(["--output", "runs/none", *given])
    return sweep.collect_inputs(options, {}, Console(quiet=True))


@pytest.mark.parametrize("space", ["aesop", "wide"])
def test_each_remedy_for_a_missing_network_works_in_a_study(space: str, weights: Path) -> None:
    command = ("--space", space, "--size", "small", "--weights", str(weights))
    with pytest.raises(MissingWeights, match=r"is vgg19, whose published weights") as caught:
        inputs(*command)
    remedies = re.findall(r"--set (loss\.\S+)=(\S+)", str(caught.value))
    assert [field for field, _ in remedies] == ["loss.perceptual_network", "loss.perceptual"]
    squeezenet = inputs(*command, "--set", "loss.perceptual_network=squeezenet")
    assert {draw.loss.perceptual_network for draw in squeezenet.draws} == {"squeezenet"}
    assert all(draw.loss.perceptual > 0 for draw in squeezenet.draws)
    without = inputs(*command, "--set", "loss.perceptual=0")
    assert all(draw.loss.perceptual == 0 for draw in without.draws)
    assert not any("could not be found" in note for note in without.notes)


def test_a_network_that_is_replaced_is_not_missed(weights: Path) -> None:
    command = ("--space", "baselines", "--size", "small", "--weights", str(weights))
    assert all(draw.loss.perceptual == 0 for draw in inputs(*command).draws)
    replaced = inputs(*command, "--set", "loss.perceptual_network=squeezenet")
    assert replaced.base.loss.perceptual > 0


def test_a_study_that_draws_the_network_is_not_advised_to_set_it(tmp_path: Path, weights: Path) -> None:
    (weights / "squeezenet1_1_features.pth").unlink()
    with pytest.raises(MissingWeights, match=r"another network in the search space, which draws loss\.perceptual_netw"):
        inputs("--space", "perceptual_weight", "--weights", str(weights))


def test_a_space_of_another_size_begins_where_its_message_says(weights: Path) -> None:
    command = ("--space", "quick", "--size", "small", "--weights", str(weights))
    with pytest.raises(ValueError, match=r"budget\.patch offers \[32, 64\]") as caught:
        inputs(*command)
    (remedy,) = re.findall(r"--set (\S+),", str(caught.value))
    assert inputs(*command, "--set", remedy).base.budget.patch == 32
