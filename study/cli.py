"""Common options of the entry points, their error handling, and a progress bar."""

import argparse
import logging
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from study.command_parser import add_renamed_options
from study.files import StorageError, check_writable
from study.formatting import one_line, printable

# Exit code after Ctrl-C, by the shells' convention.
INTERRUPTED = 130

# Errors list problems in indented lines; names in them may hold line breaks too.
_BREAK_IN_NAME = re.compile(r"\n(?!  )")
LOG_SECONDS = 10  # between lines of progress in a log


class Terminal(Console):
    """A console that shows text as it is: names in files that others made hold no markup and no control characters."""

    def __init__(self, *, stderr: bool = False) -> None:
        """Write to standard output, or to standard error."""
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As `Console.render`; rich's own control codes stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every training command, in the groups "run" and "data and output"."""
    _add_run_options(parser.add_argument_group("run"))
    _add_data_options(parser.add_argument_group("data and output"))
    add_renamed_options(parser, {"--test": "--val"})


def _add_run_options(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--size",
        choices=["full", "small", "tiny"],
        help="of networks and budgets: the paper's, one GPU's, a CPU's (default: the space's, else full)",
    )
    group.add_argument(
        "--scale",
        type=int,
        choices=[2, 3, 4],
        help="up-scaling factor, with the auto-encoder and the patches to match (default: 4)",
    )
    group.add_argument(
        "--task",
        default="sr",
        metavar="TASK",
        help="sr, denoise:SIGMA (in levels of 255) or jpeg:QUALITY (default: sr)",
    )
    group.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16"],
        default="auto",
        help="of training (default: bf16 above size tiny, where the device supports it natively, else fp32)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="override any field, e.g. loss.adversarial=1e-2; may be repeated (default: none)",
    )


def _add_data_options(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--data",
        metavar="SOURCE",
        help="training images: a folder of HR images, BasicSR's LMDB, or a store, also by URI (default: photographs)",
    )
    group.add_argument(
        "--val",
        metavar="SOURCE",
        help="validation images: a folder, an LMDB or a store (default: a held-out part of --data)",
    )
    group.add_argument(
        "--lq",
        metavar="DIR",
        help="the LQ images of --data, or `made` to make them (default: those beside the HR images, else made)",
    )
    group.add_argument("--val-lq", metavar="DIR", help="the same of --val")
    group.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help="folder with published backbone weights (default: PyTorch's cache, else downloaded)",
    )
    group.add_argument(
        "--artifacts",
        metavar="PLACE",
        help="finished stages to share: a folder, or a URI such as s3://bucket/artifacts (default: beside --output)",
    )
    group.add_argument("--mlflow", metavar="URI", help="MLflow tracking URI (default: mlflow.db beside --output)")
    group.add_argument("--output", type=Path, required=True, metavar="DIR", help="the directory of this run (required)")


def artifacts_of(arguments: argparse.Namespace) -> str:
    """Return where finished artifacts are: an absolute path, or a URI; StorageError if the path cannot be written."""
    from study.data.remote import is_uri  # late, so that --help answers at once

    place = arguments.artifacts or str(arguments.output.resolve().parent / "artifacts")
    if is_uri(place):
        return place
    check_writable(Path(place), "--artifacts")
    return str(Path(place).resolve())


def run(main: Callable[[list[str], Console], int]) -> None:
    """Run a command and exit; a ValueError or OSError is printed in one sentence, without a traceback.

    SIGTERM and SIGHUP (a closed terminal) end it as Ctrl-C does; after a closed pipe it goes on without output.
    """
    sys.stdout, sys.stderr = LastingOutput(sys.stdout, 1), LastingOutput(sys.stderr, 2)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, _interrupt)
    # Optuna warns at each trial about the experimental options of its samplers.
    warnings.filterwarnings("ignore", message=".*experimental.*")
    # Show our own log messages about long operations, such as copying a store.
    handler = logging.StreamHandler()
    handler.setFormatter(_PrintableFormatter())
    logging.getLogger("study").addHandler(handler)
    logging.getLogger("study").setLevel(logging.INFO)
    console = Terminal()
    try:
        sys.exit(main(sys.argv[1:], console))
    except KeyboardInterrupt:
        console.print("\nstopped; the same command continues where it was", highlight=False)
        sys.exit(INTERRUPTED)
    except (ValueError, OSError) as error:
        sentence = Text.assemble(("error:", "bold red"), f" {type(error).__name__}: {_sentence(error)}")
        Terminal(stderr=True).print(sentence, soft_wrap=True)
        sys.exit(2)


def _sentence(error: ValueError | OSError) -> str:
    """Return an error's message: one line, and indented ones for what it lists.

    The system's own errors name the path first, and what to check.
    """
    if not isinstance(error, OSError) or isinstance(error, StorageError) or error.filename is None:
        return _BREAK_IN_NAME.sub(r"\\n", str(error).strip())
    return one_line(
        f"{error.filename}: {error.strerror}; check that the path is right, and that you may read and write there"
    )


def print_notes(notes: Iterable[str], console: Console) -> None:
    """Print sentences that are stored with a study's results too."""
    for note in notes:
        console.print(Text.assemble(("note:", "bold"), f" {one_line(note)}"), soft_wrap=True)


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


class LastingOutput:
    """A text stream that may be closed by its reader: once a write fails, this and all further output is dropped."""

    def __init__(self, stream: TextIO | None, descriptor: int) -> None:
        """Wrap a stream.

        Args:
            stream: standard output or error; None if it was closed before the start.
            descriptor: its number, which no other file may get.
        """
        self._descriptor = descriptor
        self._stream = stream or self._open_null()

    def write(self, text: str) -> int:
        """Write a text, or drop it; return its length."""
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:  # closed by the reader or by this process, or the disk is full
            self._drop(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, or drop what it holds."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._drop(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _drop(self, error: Exception) -> None:
        # The old stream would fail again when the interpreter ends; its descriptor leads nowhere from now on.
        self._stream = self._open_null()
        if self._descriptor == 1:
            sys.stderr.write(f"standard output cannot be written ({error}); the command goes on without it\n")

    def _open_null(self) -> TextIO:
        null = os.open(os.devnull, os.O_WRONLY)
        if null != self._descriptor:
            os.dup2(null, self._descriptor)
            os.close(null)
        return open(self._descriptor, "w", closefd=False)


@contextmanager
def progress(console: Console, description: str, total: int) -> Iterator[Callable[[float], None]]:
    """Show the progress of work on images: a bar on a terminal, else a line every `LOG_SECONDS`.

    Yields a function of the number of images done, which may be fractional.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    started = logged_at = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=total, rate="")

        def advance(done: float) -> None:
            nonlocal logged_at
            now = time.monotonic()
            rate = done / max(now - started, 1e-3)
            bar.update(task, completed=done, rate=f"{rate:.1f} images/s")
            if not console.is_terminal and now - logged_at >= LOG_SECONDS:
                logged_at = now
                left = (total - done) / rate
                line = f"{description} {done:.0f} of {total}, {rate:.1f} images/s, {left:.0f} s left"
                console.print(line, highlight=False)

        yield advance
