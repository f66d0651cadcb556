"""Compare super-resolution systems by the paper's metrics on the paper's sets: one table from one command.

python study/evaluate.py bicubic ESRGAN_SRx4.pth runs/aesop --hr BENCHMARKS --set Set5 --set Set14 --weights WEIGHTS
python study/evaluate.py results/mine --hr Set5/HR --per-image images.csv --out table.md --out table.tex
python study/evaluate.py --interpolate PSNR.pth GAN.pth --alphas 0 0.25 0.5 0.75 1 --hr Set14/HR --weights WEIGHTS

A system is a weight file of ours or of another tool, a study's folder (its front), a trial's or an artifact's folder, a
folder of SR images, or `bicubic`.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Started as a script from a checkout that is not installed: Python looks in study/, but the packages are one up.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from rich.console import Console

from study import __version__
from study.cli import progress, run
from study.evaluation.scores import Files, Scores, find_images, measure
from study.evaluation.sets import SetError, TestSet, find_sets, open_set
from study.evaluation.systems import (
    Limits,
    System,
    common_scale,
    named_apart,
    open_autoencoder,
    open_interpolations,
    open_systems,
)
from study.evaluation.tables import WRITERS, Table, make_table, to_terminal, write_images, write_table
from study.metrics import METRICS
from study.metrics.evaluator import BACKBONE_OF, OF_SHRUNK, Evaluator, check_names
from study.models import Autoencoder
from study.models.backbones import BackboneName, fetch_backbone
from study.models.tiling import Upscaler, memory_bound
from study.training.evaluation import save_png
from study.training.loop import pick_device
from study.training.preflight import DOWNLOAD_SECONDS, fetching_command

PAPER = ("psnr_y", "ssim_y", "lpips_alex", "dists", "ae_psnr", "lr_psnr")
"""The metrics of AESOP's tables, taken where nothing else is asked for."""

ON_REQUEST = ("null_energy",)
"""What even `--metrics all` leaves out: its matrices take minutes for large images."""

GIB = 1 << 30


class EvaluationError(ValueError):
    """Something that would make the table another one than was asked for."""


def main(arguments: list[str], console: Console) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    device = pick_device()
    bound = memory_bound(device) if options.memory is None else round(options.memory * GIB / 4)
    limits = Limits(device, bound, options.tile, options.overlap)
    systems, sets, scale = _open(options, limits)
    files = _files(systems, sets)
    autoencoder = None if options.autoencoder is None else open_autoencoder(options.autoencoder)
    names, backbones = _metrics(options, sets, scale, autoencoder is not None, console)
    evaluator = Evaluator(
        names,
        limits.device,
        backbones=backbones,
        autoencoder=None if autoencoder is None else autoencoder[0],
        keep_bytes=bound // 4,
    )
    total = len(systems) * sum(len(test.pairs) for test in sets)
    with progress(console, "evaluating", total) as advance:
        scores = measure(
            systems, sets, evaluator, limits.device, files, advance=advance, keep=_keeper(options.save_images)
        )
    _state_tiles(systems, console)
    _refuse_gaps(scores, names, options.per_image)
    table = make_table(scores.rows, names, _facts(systems, sets, scale, backbones, autoencoder, limits))
    console.print(to_terminal(table))
    _write(table, scores, names, options, console)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="study/evaluate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("systems", nargs="*", metavar="WEIGHTS|IMAGES", help="what to evaluate; one row each")
    parser.add_argument(
        "--hr", nargs="+", type=Path, required=True, metavar="DIR", help="a set each, or one folder that holds sets"
    )
    parser.add_argument(
        "--lr", nargs="+", type=Path, default=[], metavar="DIR", help="low-quality images, a folder for each --hr "
        "(default: what lies beside HR, else made by MATLAB's bicubic)",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME", help="which sets of the folder, or what to call each --hr"
    )
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help=f"all, or some of {', '.join(METRICS)}")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="folder with published backbone weights")
    parser.add_argument("--autoencoder", type=Path, metavar="FILE", help="what AE-PSNR is measured behind")
    parser.add_argument("--scale", type=int, choices=[1, 2, 3, 4], help="where nothing else tells it (4)")
    parser.add_argument("--recipe", metavar="NAME[:SIZE]", help="whose generator the weight files are of")
    parser.add_argument(
        "--interpolate", nargs=2, type=Path, metavar=("A", "B"), help="interpolate the weights of two files"
    )
    parser.add_argument(
        "--alphas", nargs="+", type=float, metavar="SHARE", help="of B in an interpolation (0 0.25 0.5 0.75 1)"
    )
    parser.add_argument("--out", action="append", type=Path, default=[], metavar="FILE", help="write the table: "
                        f"{', '.join(WRITERS)}; may be given again")  # fmt: skip
    parser.add_argument("--per-image", type=Path, metavar="FILE", help="a CSV with a row per model, set and image")
    parser.add_argument("--save-images", type=Path, metavar="DIR", help="keep the SR images: DIR/MODEL/SET/IMAGE.png")
    parser.add_argument("--tile", type=int, metavar="PX", help="cut LR images into tiles (default: if memory demands)")
    parser.add_argument("--overlap", type=int, metavar="PX", help="that tiles see beyond their sides")
    parser.add_argument("--memory", type=float, metavar="GIB", help="what the evaluation may take in all")
    options = parser.parse_args(arguments)
    _check_options(parser, options)
    return options


def _check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if not options.systems and options.interpolate is None:
        parser.error("name weights or folders of images to evaluate, or two weight files with --interpolate")
    if options.alphas and options.interpolate is None:
        parser.error("--alphas are shares of an interpolation: name its two weight files with --interpolate A B")
    if options.memory is not None and options.memory < 1:
        parser.error(f"--memory must be at least 1 GiB, but got {options.memory:g}")
    for path in options.out:
        if path.suffix not in WRITERS:
            parser.error(f"--out must end in {', '.join(WRITERS)}, but got {path}")
    for path in [*options.out, *([options.per_image] if options.per_image else [])]:
        if not path.resolve().parent.is_dir():
            parser.error(f"{path}: there is no folder {path.resolve().parent}; create it")


def _open(options: argparse.Namespace, limits: Limits) -> tuple[list[System], list[TestSet], int]:
    """The table's rows and columns, and their scale; EvaluationError with everything that is wrong with any."""
    systems: list[System] = []
    sets: list[TestSet] = []
    problems = []
    scale = options.scale or 4
    try:
        systems = _systems(options, limits)
        scale = common_scale(systems, options.scale)
    except (ValueError, OSError) as error:
        problems.append(str(error))
    try:
        places = find_sets(options.hr, options.lr, options.set, scale)
    except SetError as error:
        places = []
        problems.append(str(error))
    for place in places:
        try:
            sets.append(open_set(place, scale))
        except SetError as error:
            problems.append(str(error))
    if problems:
        raise EvaluationError("\n".join(problems))
    return systems, sets, scale


def _systems(options: argparse.Namespace, limits: Limits) -> list[System]:
    systems = open_systems(options.systems, limits, recipe=options.recipe, scale=options.scale)
    if options.interpolate is not None:
        alphas = options.alphas or [0, 0.25, 0.5, 0.75, 1]
        first, second = options.interpolate
        systems += open_interpolations(first, second, alphas, limits, recipe=options.recipe, scale=options.scale)
    return named_apart(systems)


def _files(systems: Sequence[System], sets: Sequence[TestSet]) -> Files:
    """The images to judge; EvaluationError with everything that is wrong with any."""
    files, problems = find_images(systems, sets)
    if problems:
        raise EvaluationError("\n".join(["these images cannot be evaluated:", *(f"  {line}" for line in problems)]))
    return files


def _metrics(
    options: argparse.Namespace, sets: Sequence[TestSet], scale: int, has_autoencoder: bool, console: Console
) -> tuple[list[str], dict[BackboneName, Path]]:
    """The metrics to take, and the published weights that they need; what cannot be had is said, or refused.

    Raises:
        EvaluationError: a metric that was asked for by name, and cannot be taken; the message says how it could.
    """
    asked = _asked(options.metrics)
    by_name = options.metrics is not None and options.metrics != ["all"]
    backbones = _find_backbones(asked, options.weights)
    lacking = {name: _what_lacks(name, sets, scale, has_autoencoder, backbones) for name in asked}
    left_out = {name: reason for name, reason in lacking.items() if reason}
    if left_out and by_name:
        lines = [f"  {name}: {reason}" for name, reason in left_out.items()]
        raise EvaluationError("\n".join(["these metrics cannot be taken:", *lines]))
    for name, reason in left_out.items():
        console.print(f"[yellow]without {name}:[/] {reason}", highlight=False, soft_wrap=True)
    return [name for name in asked if name not in left_out], backbones


def _asked(names: Sequence[str] | None) -> list[str]:
    if names is None:
        return list(PAPER)
    if list(names) == ["all"]:
        return [name for name in METRICS if name not in ON_REQUEST]
    check_names(names)
    return list(dict.fromkeys(names))


def _find_backbones(names: Sequence[str], weights: Path | None) -> dict[BackboneName, Path]:
    wanted = dict.fromkeys(BACKBONE_OF[name] for name in names if name in BACKBONE_OF)
    found = {name: fetch_backbone(name, weights, timeout_sec=DOWNLOAD_SECONDS) for name in wanted}
    return {name: path for name, path in found.items() if path is not None}


def _what_lacks(
    name: str, sets: Sequence[TestSet], scale: int, has_autoencoder: bool, backbones: Mapping[BackboneName, Path]
) -> str:
    """Why a metric cannot be taken, and what would help; empty if it can."""
    if name in BACKBONE_OF and BACKBONE_OF[name] not in backbones:
        return (
            f"the published weights of {BACKBONE_OF[name]} are neither in --weights nor in torch's cache; "
            f"{fetching_command([BACKBONE_OF[name]])}"
        )
    if name == "ae_psnr" and not has_autoencoder:
        return "it is measured behind an auto-encoder: name one with --autoencoder, such as an artifact's folder"
    if name in OF_SHRUNK and scale == 1:
        return "nothing was shrunk at scale 1"
    smallest = METRICS[name].smallest_side
    small = [
        f"{test.name}/{image}"
        for test in sets
        for image, shape in zip(test.pairs.names, test.pairs.hr.shapes, strict=True)
        if min(shape) < smallest
    ]
    return f"it needs images of at least {smallest} px a side, which {', '.join(small[:3])} is not" if small else ""


def _keeper(folder: Path | None) -> Any:
    if folder is None:
        return None

    def keep(model: str, name: str, image: str, pixels: np.ndarray) -> None:
        save_png(folder / model.replace("/", "_") / name / f"{image}.png", pixels)

    return keep


def _state_tiles(systems: Sequence[System], console: Console) -> None:
    """Say which systems worked in tiles, and whether that shows."""
    for system in systems:
        upscale = system.upscale
        if not isinstance(upscale, Upscaler) or upscale.tiling is None:
            continue
        console.print(f"{system.name}: {_tiling_text(upscale)}", highlight=False, soft_wrap=True, markup=False)


def _tiling_text(upscale: Upscaler) -> str:
    tiling = upscale.tiling
    assert tiling is not None
    field = "all of the image" if tiling.field is None else f"{tiling.field} px around it"
    cut = f"in tiles of {tiling.side} LR px that overlap by {tiling.overlap}; an output pixel sees {field}"
    if tiling.exact or upscale.difference is None:
        return f"{cut}, so that nothing differs from the whole image"
    changed = f"seeing further changed a tile by at most {255 * upscale.difference:.2g} levels of 255"
    remedy = "" if tiling.field is None else f"; --overlap {tiling.field} would be exact"
    return f"{cut}: {changed}{remedy}"


def _refuse_gaps(scores: Scores, names: Sequence[str], per_image: Path | None) -> None:
    """No table where an image of a system could not be measured; what could be is kept, under another name."""
    if not scores.problems:
        return
    lines = ["no table, for it would not be of all images:", *(f"  {line}" for line in scores.problems)]
    if per_image is not None and scores.rows:
        partial = per_image.with_name(f"{per_image.stem}.incomplete{per_image.suffix}")
        write_images(scores.rows, names, partial)
        lines.append(f"what could be measured is in {partial}")
    raise EvaluationError("\n".join(lines))


def _facts(
    systems: Sequence[System],
    sets: Sequence[TestSet],
    scale: int,
    backbones: Mapping[BackboneName, Path],
    autoencoder: tuple[Autoencoder, str] | None,
    limits: Limits,
) -> dict[str, Any]:
    """What the numbers depend on."""
    facts: dict[str, Any] = {
        "scale": scale,
        "images": "HR cropped to multiples of 12, quantised to 8 bit",
        "low-quality images": {test.name: "made by MATLAB's bicubic" if test.made else "given" for test in sets},
        "backbones": {name: path.name for name, path in backbones.items()},
        "models": {
            system.name: f"{system.settings} sha256 {system.digest}".strip() for system in systems if system.digest
        },
        "version": f"aesop-study {__version__}, torch {torch.__version__}, {limits.device.type}",
    }
    if autoencoder is not None:
        facts["auto-encoder of AE-PSNR"] = f"{autoencoder[0].extra_repr()} sha256 {autoencoder[1]}".strip()
    return {name: value for name, value in facts.items() if value}


def _write(table: Table, scores: Scores, names: Sequence[str], options: argparse.Namespace, console: Console) -> None:
    for path in options.out:
        write_table(table, path)
    if options.per_image is not None:
        write_images(scores.rows, names, options.per_image)
    written = [*options.out, *([options.per_image] if options.per_image else [])]
    if options.save_images is not None:
        written.append(options.save_images)
    if written:
        console.print(f"written: {', '.join(map(str, written))}", highlight=False, soft_wrap=True, markup=False)


if __name__ == "__main__":
    run(main)
