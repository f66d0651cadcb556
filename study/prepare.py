"""Pack folders or LMDBs of images into a store, from which training reads without decoding; describe and verify one;
download the published weights that losses and metrics need, for machines without internet.

python study/prepare.py pack DIV2K --output div2k.arrow
python study/prepare.py verify div2k.arrow
python study/prepare.py info div2k.arrow
python study/prepare.py weights --output WEIGHTS
"""

import argparse
import http.client
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Started as a script from a checkout that is not installed: Python looks in study/, but the packages are one up.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from joblib import cpu_count
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from study.cli import print_notes, progress, run
from study.command_parser import CommandParser, add_renamed_options, seed
from study.data.degradations import parse_degradation
from study.data.packing import Packed, Plan, pack, plan_pack
from study.data.store import Store, open_store, verify
from study.files import check_writable
from study.models.backbones import BACKBONES, collect_backbone, file_digest, published_url
from study.record.directory import check_not_recorded


def main(arguments: list[str], console: Console) -> int:
    """Run the command; return its exit code."""
    options = _parse(arguments)
    if options.command in ("pack", "weights"):
        check_writable(options.output, "--output")
        check_not_recorded(options.output, "--output")
    commands: dict[str, Callable[[argparse.Namespace, Console], int]] = {
        "pack": _pack,
        "verify": _verify,
        "info": _info,
        "weights": _weights,
    }
    return commands[options.command](options, console)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = CommandParser(prog="study/prepare.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser(
        "pack", help="folders or LMDBs of images into one store; images of over 67 megapixels are cut"
    )
    packing.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="a known set, or folders or LMDBs of HR images"
    )
    packing.add_argument("--output", type=Path, required=True, metavar="STORE", help="the file to write, NAME.arrow")
    packing.add_argument("--scale", type=int, default=4, choices=[1, 2, 3, 4, 8], help="HR pixels per LQ pixel (4)")
    packing.add_argument(
        "--degradation",
        metavar="KIND",
        help="make LQ by bicubic, noise:SIGMA, jpeg:QUALITY or second-order "
        "(default: the LQ images beside the HR images, or else bicubic)",
    )
    packing.add_argument("--lq", nargs="+", type=Path, default=[], metavar="DIR", help="folders or LMDBs of LQ images")
    packing.add_argument("--name", help="the set's name; custom to pack a known set without crop and count")
    packing.add_argument("--seed", type=seed, default=0, metavar="N", help="seed of noise and of second-order (0)")
    packing.add_argument("--jobs", type=int, default=cpu_count(), metavar="N", help="threads (default: one per core)")
    add_renamed_options(packing, {"--out": "--output", "--set": "--name"})
    weights = commands.add_parser("weights", help="the networks of perceptual losses and metrics, into one folder")
    weights.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder; name it with --weights")
    weights.add_argument("--networks", nargs="+", choices=list(BACKBONES), default=list(BACKBONES), metavar="NAME",
                         help=f"some of {', '.join(BACKBONES)} (default: all)")  # fmt: skip
    weights.add_argument(
        "--features-only", action="store_true", help="keep only the convolutions: 0.2 GB instead of 1.3 GB"
    )
    add_renamed_options(weights, {"--out": "--output", "--only": "--networks"})
    for name, text in (("verify", "read a whole store and name damaged images"), ("info", "describe a store")):
        command = commands.add_parser(name, help=text)
        command.add_argument("store", type=Path, metavar="STORE")
    options = parser.parse_args(arguments)
    if options.command == "pack" and options.jobs < 1:
        parser.error(f"--jobs must be at least 1, but got {options.jobs}")
    return options


def _pack(options: argparse.Namespace, console: Console) -> int:
    plan = plan_pack(
        options.folders,
        scale=options.scale,
        degradation=None if options.degradation is None else parse_degradation(options.degradation),
        lq=options.lq,
        name=options.name,
        seed=options.seed,
    )
    console.print(_announcement(plan), highlight=False, soft_wrap=True)
    print_notes(plan.notes, console)
    if plan.problems:
        console.print(
            f"{len(plan.problems)} problems so far; the other images are read to report all at once", highlight=False
        )
    started = time.monotonic()
    with progress(console, "packing", len(plan.items)) as advance:
        packed = pack(plan, options.output, jobs=options.jobs, progress=advance)
    seconds = time.monotonic() - started
    if packed.new == 0 and packed.kept == plan.description.count:
        console.print(f"{options.output} is up to date: nothing was done", highlight=False, soft_wrap=True)
    else:
        console.print(_rate(packed, seconds), highlight=False)
    _describe(packed.store, console)
    console.print(f"train on it: --data {shlex.quote(str(options.output))}", highlight=False, soft_wrap=True)
    return 0


def _verify(options: argparse.Namespace, console: Console) -> int:
    count = open_store(options.store).description.count
    problems = []
    with progress(console, "verifying", count) as advance:
        for done, problem in enumerate(verify(options.store), start=1):
            problems += [problem] if problem else []
            advance(done)
    for problem in problems:
        console.print(f"{options.store}: {problem}", markup=False, highlight=False, soft_wrap=True)
    result = f"{len(problems)} of {count} images are damaged" if problems else f"all {count} images are intact"
    console.print(f"{options.store}: {result}", highlight=False, soft_wrap=True)
    return 1 if problems else 0


def _info(options: argparse.Namespace, console: Console) -> int:
    _describe(open_store(options.store), console)
    return 0


def _weights(options: argparse.Namespace, console: Console) -> int:
    """Download backbones; keep those that succeed and name the others at the end."""
    table = Table("network", "file", "MB", "SHA-256", "used for", box=None, pad_edge=False)
    problems = []
    for name in options.networks:
        try:
            with _download_progress(console, name) as advance:
                path = collect_backbone(name, options.output, features_only=options.features_only, advance=advance)
        except (OSError, ValueError, http.client.HTTPException) as error:
            problems.append(f"{name}: {type(error).__name__}: {error}; it is published at {published_url(name)}")
            continue
        size = f"{path.stat().st_size / 1e6:.1f}"
        table.add_row(name, path.name, size, file_digest(path), BACKBONES[name])
    if table.row_count:
        console.print(table, highlight=False, soft_wrap=True)
        console.print(
            f"use them: --weights {shlex.quote(str(options.output))}", highlight=False, soft_wrap=True, markup=False
        )
    for problem in problems:
        console.print(f"missing: {problem}", markup=False, highlight=False, soft_wrap=True)
    return 1 if problems else 0


@contextmanager
def _download_progress(console: Console, name: str) -> Iterator[Callable[[int], None]]:
    """Show a download's progress; yield a function that is called with the bytes of each chunk."""
    columns = (TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        yield lambda size: bar.advance(task, size)


def _announcement(plan: Plan) -> str:
    description = plan.description
    given = sorted({str(item.lq.parent) for item in plan.items if item.lq is not None})
    how = f"given in {', '.join(given)}" if given else f"made by {description.degradation['kind']}"
    cropped = f", cropped to multiples of {description.multiple}" if description.multiple > 1 else ""
    return f"{description.name}: {description.count} HR images{cropped}; low-quality images {how}, x{description.scale}"


def _rate(packed: Packed, seconds: float) -> str:
    kept = f" ({packed.kept} kept from an earlier attempt)" if packed.kept else ""
    return f"packed {packed.new} images{kept} in {seconds:.1f} s, {packed.new / seconds:.1f} images/s"


def _describe(store: Store, console: Console) -> None:
    description, images = store.description, store.image_set()
    table = Table(show_header=False, box=None, pad_edge=False)
    sides = [side for shape in store.images.shapes for side in shape]
    rows = {
        "set": description.name,
        "images": f"{description.count}, sides {min(sides)} to {max(sides)} px",
        "HR": f"{_megapixels(store.images.shapes)}, cropped to multiples of {description.multiple}",
        "LQ": f"{_megapixels(store.lq.shapes)}, x{description.scale}, {_short(description.degradation)}",
        "size": f"{store.path.stat().st_size / 1e6:.1f} MB",
        "content": images.fingerprint,
        "checksum": store.checksum,
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table, highlight=False, soft_wrap=True)


def _short(degradation: object) -> str:
    """Return a degradation's kind and its plain numbers."""
    assert isinstance(degradation, dict)
    numbers = [f"{name} {value:g}" for name, value in degradation.items() if type(value) in (int, float)]
    return " ".join([degradation["kind"], *numbers])


def _megapixels(shapes: tuple[tuple[int, int], ...]) -> str:
    return f"{sum(height * width for height, width in shapes) / 1e6:.2f} megapixels"


def command() -> None:
    """Run as `aesop-prepare`."""
    run(main)


if __name__ == "__main__":
    command()
