"""A message with the smallest input that provokes it, and the remedies that it names, each applied as it says."""

import contextlib
import io
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from study import evaluate, prepare, sweep, train
from study.sweep_options import search_plan
from study.training.loop import Diverged
from tests.remedies.source import Message, messages

Act = Callable[[Path], object]  # in an empty folder; returns what it says, if that is no error


@dataclass(frozen=True)
class Pair:
    """What provokes some messages together, and what they advise.

    Attributes:
        said: a part of each message as the source has it, `{name}` where a value is filled in.
        provoke: raises, prints or returns the messages.
        remedies: after each one the messages are not there any more, and nothing is raised.
    """

    said: tuple[str, ...]
    provoke: Act
    remedies: tuple[Act, ...]


def pair(said: str | tuple[str, ...], provoke: Act, *remedies: Act) -> Pair:
    """Return a pair; every alternative that the message names is a remedy of its own."""
    return Pair((said,) if isinstance(said, str) else said, provoke, remedies)


def containing(part: str) -> list[Message]:
    """Return the messages of the source with a text in them; AssertionError if there are none."""
    found = [message for message in messages() if part in message.text]
    assert found, f"no message of the source has {part!r} any more: correct it in tests/remedies"
    return found


def said_by(act: Act, place: Path, *, may_fail: bool) -> str:
    """Return what an act prints, raises and returns; AssertionError if it raises and may not."""
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(shown):
            returned = act(place)
    except (ValueError, OSError, SystemExit, Diverged) as error:
        if not may_fail:
            raise AssertionError(f"the remedy ends in: {error} {shown.getvalue()}") from error
        return f"{shown.getvalue()}\n{error}"
    return f"{shown.getvalue()}\n{returned if isinstance(returned, str) else ''}"


def words(line: str, place: Path) -> list[str]:
    """Return the arguments of a command line, with the folder for PLACE."""
    return [word.replace("PLACE", str(place)) for word in shlex.split(line)]


def training(line: str) -> Act:
    """Return: read the command line of study/train.py up to the validated configuration."""

    def act(place: Path) -> None:
        options = train._parse([*words(line, place), "--output", str(place / "run")])
        train._configuration(options, Console(soft_wrap=True))

    return act


def searching(line: str, space: str = "quick") -> Act:
    """Return: read the command line of study/sweep.py up to the inputs of the study."""

    def act(place: Path) -> str:
        options = sweep._parse(words(f"--space {space} {line} --output PLACE/run", place))
        inputs = sweep.collect_inputs(options, {}, Console(soft_wrap=True))
        return "\n".join(inputs.notes)

    return act


def planning(line: str) -> Act:
    """Return: read the command line of study/sweep.py up to the plan of its search."""

    def act(place: Path) -> None:
        options = sweep._parse(words(f"--space quick {line} --output PLACE/run", place))
        search_plan(options, ["psnr_y", "lr_psnr", "swd"])

    return act


def starting(line: str) -> Act:
    """Return: read the command line of study/sweep.py up to the checked study, with images of its own."""

    def act(place: Path) -> str:
        options = sweep._parse(words(f"--space quick --data PLACE/images {line} --output PLACE/run", place))
        study, _ = sweep.prepare(options, {}, Console(soft_wrap=True))
        return "\n".join(study.notes)

    return with_images(act)


def with_images(act: Act, count: int = 6) -> Act:
    """Return: write PLACE/images, then act."""
    return after(lambda place: write_images(place / "images", count), act)


def parsing(command: Callable[[list[str]], object], line: str) -> Act:
    """Return: read a command line with the parser of a command, which checks what needs no file."""
    return lambda place: command(words(line, place)) and None


def write_images(folder: Path, count: int, side: int = 96, first: int = 0) -> None:
    """Write square photographs that differ."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04}.png")


def after(prepare_place: Act, act: Act) -> Act:
    """Return: one act, then another."""

    def both(place: Path) -> object:
        prepare_place(place)
        return act(place)

    return both


def evaluating(line: str) -> Act:
    """Return: run study/evaluate.py."""
    return lambda place: evaluate.main(words(line, place), Console(soft_wrap=True, width=10_000))


def preparing(line: str) -> Act:
    """Return: run study/prepare.py."""
    return lambda place: prepare.main(words(line, place), Console(soft_wrap=True, width=10_000))
