"""What the entry points share: their common options, and how they end."""

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from study.config import INITIAL_WEIGHTS, Precision, RunConfig, parse_assignments, pin_custom_loss, replace
from study.config.recipes import for_task, parse_task, rescale

# The exit code of a program that Ctrl-C ended, by the shells' convention.
INTERRUPTED = 130

LOG_SECONDS = 10  # between lines of progress in a log


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every training command takes."""
    parser.add_argument("--size", choices=["full", "small", "tiny"], help="the paper's size, one GPU's, a CPU's")
    parser.add_argument(
        "--scale",
        type=int,
        choices=[2, 3, 4],
        help="up-scaling factor, with the auto-encoder and the patches to match (default: 4)",
    )
    parser.add_argument(
        "--task",
        default="sr",
        metavar="TASK",
        help="sr, denoise:SIGMA (in levels of 255) or jpeg:QUALITY (default: sr)",
    )
    parser.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16"],
        default="auto",
        help="what networks train in (default: bf16 above tiny, where the device multiplies such numbers itself)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="override any field, e.g. loss.adversarial=1e-2",
    )
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        help="what to train on: a folder of HR images, or a store, also by URI (default: photographs)",
    )
    parser.add_argument(
        "--val",
        metavar="SOURCE",
        help="what to evaluate on: a folder or a store (default: a part of --data is held out)",
    )
    parser.add_argument("--weights", type=Path, metavar="DIR", help="folder with published backbone weights")
    parser.add_argument(
        "--artifacts",
        metavar="PLACE",
        help="finished stages to share: a folder, or a URI such as s3://bucket/artifacts (default: beside --output)",
    )
    parser.add_argument("--mlflow", metavar="URI", help="MLflow tracking URI (default: mlflow.db beside --output)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the directory of this run")


def add_renamed_options(parser: argparse.ArgumentParser, renamed: Mapping[str, str]) -> None:
    """Refuse options by their old names, with the new name in the error.

    Args:
        parser: of the command, or of the subcommand, that has the new options.
        renamed: old name to new name, e.g. {"--out": "--output"}.
    """
    for old, new in renamed.items():
        parser.add_argument(
            old, action=_Renamed, const=new, nargs="?", dest=argparse.SUPPRESS, default=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
        )  # fmt: skip


class _Renamed(argparse.Action):
    """An option that ends the parsing; `const` is its new name."""

    def __call__(self, parser: argparse.ArgumentParser, *_parsed: object) -> None:
        parser.error(f"{self.option_strings[0]} is called {self.const} now")


def with_options(config: RunConfig, arguments: argparse.Namespace, fastest: Precision) -> RunConfig:
    """Put the scale, sources and overrides of a command line into a configuration.

    Args:
        config: the recipe.
        arguments: of `add_common_options`.
        fastest: what `--precision auto` stands for where the run trains, but for tiny networks.

    Raises:
        ConfigError: they do not fit.
    """
    config = for_task(rescale(config, arguments.scale or config.data.scale), *parse_task(arguments.task))
    options = {
        "data.train": _absolute(arguments.data or config.data.train),
        "data.val": _absolute(arguments.val or config.data.val),
        "precision": _automatic(config, fastest) if arguments.precision == "auto" else arguments.precision,
    }
    return pin_custom_loss(replace(config, options | with_full_paths(parse_assignments(arguments.set))))


def _automatic(config: RunConfig, fastest: Precision) -> Precision:
    """Tiny networks gain a tenth from bfloat16 (measured): too little for results that hang on the machine."""
    return "fp32" if config.size == "tiny" else fastest


def with_full_paths(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Name weight files to start from in full, for workers run elsewhere."""
    is_path = {path: path in INITIAL_WEIGHTS and isinstance(value, str) for path, value in changes.items()}
    return {path: str(Path(value).resolve()) if is_path[path] else value for path, value in changes.items()}


def artifacts_of(arguments: argparse.Namespace) -> str:
    """Where finished artifacts are: a full path, or a URI."""
    from study.data.remote import is_uri  # late, so that --help answers at once

    place = arguments.artifacts or str(arguments.output.resolve().parent / "artifacts")
    return place if is_uri(place) else str(Path(place).resolve())


def run(main: Callable[[list[str], Console], int]) -> None:
    """Run a command: what a person can mend is said in a sentence, without a traceback."""
    # One line a draw, about options of samplers that we chose knowingly.
    warnings.filterwarnings("ignore", message=".*experimental.*")
    # What our own modules say of long work, such as copying a store; other packages' loggers stay as they are.
    logging.getLogger("study").addHandler(logging.StreamHandler())
    logging.getLogger("study").setLevel(logging.INFO)
    console = Console(stderr=False)
    try:
        sys.exit(main(sys.argv[1:], console))
    except KeyboardInterrupt:
        console.print("\nstopped; the same command continues where it was", highlight=False)
        sys.exit(INTERRUPTED)
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {type(error).__name__}: ", end="", highlight=False)
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


@contextmanager
def progress(console: Console, what: str, total: int) -> Iterator[Callable[[float], None]]:
    """Show how far long work on images is: as a bar, or where there is no terminal as a line now and then.

    Yields what takes the number of images done, with halves of some.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    started = said = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total, rate="")

        def advance(done: float) -> None:
            nonlocal said
            now = time.monotonic()
            rate = done / max(now - started, 1e-3)
            bar.update(task, completed=done, rate=f"{rate:.1f} images/s")
            if not console.is_terminal and now - said >= LOG_SECONDS:
                said = now
                left = (total - done) / rate
                console.print(f"{what} {done:.0f} of {total}, {rate:.1f} images/s, {left:.0f} s left", highlight=False)

        yield advance


def _absolute(source: str | None) -> str | None:
    """Workers run elsewhere: a folder or file is named in full."""
    from study.data.remote import is_uri  # late, so that --help answers at once

    return source if source is None or source == "photographs" or is_uri(source) else str(Path(source).resolve())
