"""Compare super-resolution systems by the paper's metrics on the paper's sets: one table from one command.

python study/evaluate.py bicubic ESRGAN_SRx4.pth runs/aesop --hr BENCHMARKS --name Set5 --name Set14 --weights WEIGHTS
python study/evaluate.py results/mine --hr Set5/HR --per-image images.csv --output table.md --output table.tex
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
from rich.text import Text

from study import __version__
from study.cli import print_notes, progress, run
from study.evaluate_options import parse
from study.evaluation.scores import Files, Scores, find_images, measure
from study.evaluation.sets import BY_BICUBIC, SetError, TestSet, find_sets, open_set
from study.evaluation.systems import (
    Limits,
    System,
    common_scale,
    folder_name,
    open_autoencoder,
    open_interpolations,
    open_systems,
    with_unique_names,
)
from study.evaluation.tables import Table, make_table, to_terminal, write_images, write_table
from study.metrics import METRICS
from study.metrics.evaluator import BACKBONE_OF, LR_METRICS, Evaluator, check_names
from study.models import Autoencoder
from study.models.backbones import BackboneName, fetch_backbone
from study.models.tiling import Upscaler, memory_bound
from study.training.evaluation import save_png
from study.training.loop import pick_device
from study.training.preflight import DOWNLOAD_SECONDS, fetching_command

PAPER_METRICS = ("psnr_y", "ssim_y", "lpips_alex", "dists", "ae_psnr", "lr_psnr")
"""The default: the metrics of AESOP's tables."""

EXPLICIT_ONLY = ("null_energy",)
"""Metrics that `--metrics all` omits: their matrices take minutes for large images."""

GIB = 1 << 30


class EvaluationError(ValueError):
    """An input that cannot be evaluated as requested."""


def main(arguments: list[str], console: Console) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    device = pick_device()
    bound = memory_bound(device) if options.memory is None else round(options.memory * GIB / 4)
    limits = Limits(device, bound, options.tile, options.overlap)
    systems, sets, scale = _open(options, limits)
    files = _files(systems, sets, console)
    autoencoder = None if options.autoencoder is None else open_autoencoder(options.autoencoder)
    names, backbones = _metrics(options, sets, scale, autoencoder is not None, console)
    evaluator = Evaluator(
        names,
        limits.device,
        backbones=backbones,
        autoencoder=None if autoencoder is None else autoencoder[0],
        keep_bytes=bound // 4,
        memory=bound,
    )
    total = len(systems) * sum(len(test.pairs) for test in sets)
    with progress(console, "evaluating", total) as advance:
        scores = measure(systems, sets, evaluator, files, advance=advance, save=_image_writer(options.save_images))
    _report_tiles(systems, options, console)
    _require_complete(scores, names, options.per_image)
    table = make_table(scores.rows, names, _provenance(systems, sets, scale, backbones, autoencoder, limits))
    console.print(f"scale {scale}", highlight=False)
    console.print(to_terminal(table))
    _write(table, scores, names, options, console)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    return parse(arguments, __doc__)


def _open(options: argparse.Namespace, limits: Limits) -> tuple[list[System], list[TestSet], int]:
    """Open the table's rows and columns, and return them with their scale; EvaluationError lists all problems."""
    systems: list[System] = []
    sets: list[TestSet] = []
    problems = []
    scale = options.scale or 4
    try:
        systems = _all_systems(options, limits)
        scale = common_scale(systems, options.scale)
    except (ValueError, OSError) as error:
        problems.append(str(error))
    try:
        places = find_sets(options.hr, options.lq, options.name, scale)
    except SetError as error:
        places = []
        problems.append(str(error))
    for place in places:
        try:
            sets.append(open_set(place, scale))
        except SetError as error:
            problems.append(str(error))
    if problems:
        raise EvaluationError("\n  ".join(["the inputs cannot be used:", *problems]) if problems[1:] else problems[0])
    return systems, sets, scale


def _all_systems(options: argparse.Namespace, limits: Limits) -> list[System]:
    systems = open_systems(options.systems, limits, recipe=options.recipe, scale=options.scale)
    if options.interpolate is not None:
        alphas = options.alphas or [0, 0.25, 0.5, 0.75, 1]
        first, second = options.interpolate
        systems += open_interpolations(first, second, alphas, limits, recipe=options.recipe, scale=options.scale)
    return with_unique_names(systems)


def _files(systems: Sequence[System], sets: Sequence[TestSet], console: Console) -> Files:
    """Find the SR images to evaluate; EvaluationError lists all problems."""
    files, problems, notes = find_images(systems, sets)
    if problems:
        raise EvaluationError("\n".join(["these images cannot be evaluated:", *(f"  {line}" for line in problems)]))
    given = [f"{test.name}: the low-quality images are {test.lq}" for test in sets if test.lq != BY_BICUBIC]
    print_notes([*given, *(note for test in sets for note in test.notes), *notes], console)
    return files


def _metrics(
    options: argparse.Namespace, sets: Sequence[TestSet], scale: int, has_autoencoder: bool, console: Console
) -> tuple[list[str], dict[BackboneName, Path]]:
    """Return the metrics to compute and their published weights; report unavailable default metrics.

    Raises:
        EvaluationError: metrics requested by name are unavailable; the message has the reasons and remedies.
    """
    requested = _requested(options.metrics)
    by_name = options.metrics is not None and options.metrics != ["all"]
    backbones = _find_backbones(requested, options.weights)
    missing = {name: _missing_requirement(name, sets, scale, has_autoencoder, backbones) for name in requested}
    left_out = {name: reason for name, reason in missing.items() if reason}
    if left_out and by_name:
        lines = [f"  {name}: {reason}" for name, reason in left_out.items()]
        raise EvaluationError("\n".join(["these metrics cannot be computed:", *lines]))
    for name, reason in left_out.items():
        console.print(Text.assemble((f"without {name}:", "yellow"), f" {reason}"), soft_wrap=True)
    return [name for name in requested if name not in left_out], backbones


def _requested(names: Sequence[str] | None) -> list[str]:
    if names is None:
        return list(PAPER_METRICS)
    if list(names) == ["all"]:
        return [name for name in METRICS if name not in EXPLICIT_ONLY]
    check_names(names)
    return list(dict.fromkeys(names))


def _find_backbones(names: Sequence[str], weights: Path | None) -> dict[BackboneName, Path]:
    wanted = dict.fromkeys(BACKBONE_OF[name] for name in names if name in BACKBONE_OF)
    found = {name: fetch_backbone(name, weights, timeout_sec=DOWNLOAD_SECONDS) for name in wanted}
    return {name: path for name, path in found.items() if path is not None}


def _missing_requirement(
    name: str, sets: Sequence[TestSet], scale: int, has_autoencoder: bool, backbones: Mapping[BackboneName, Path]
) -> str:
    """Return why a metric cannot be computed, and the remedy; empty if it can."""
    if name in BACKBONE_OF and BACKBONE_OF[name] not in backbones:
        return (
            f"the published weights of {BACKBONE_OF[name]} are neither in --weights nor in torch's cache; "
            f"{fetching_command([BACKBONE_OF[name]])}"
        )
    if name == "ae_psnr" and not has_autoencoder:
        return "it needs an auto-encoder: name one with --autoencoder, such as an artifact's folder"
    if name in LR_METRICS and scale == 1:
        return "it needs LR images, but scale 1 has none"
    smallest = METRICS[name].smallest_side
    small = [
        f"{test.name}/{image}"
        for test in sets
        for image, shape in zip(test.pairs.names, test.pairs.hr.shapes, strict=True)
        if min(shape) < smallest
    ]
    return f"it needs images of at least {smallest} px a side; smaller are {', '.join(small[:3])}" if small else ""


def _image_writer(folder: Path | None) -> Any:
    if folder is None:
        return None

    def save(model: str, name: str, image: str, pixels: np.ndarray) -> None:
        save_png(folder / folder_name(model) / name / f"{image}.png", pixels)

    return save


def _report_tiles(systems: Sequence[System], options: argparse.Namespace, console: Console) -> None:
    """Print which systems worked in tiles, and the difference from the whole image; or that none did."""
    networks = [(system.name, system.upscale) for system in systems if isinstance(system.upscale, Upscaler)]
    cut = [(name, upscale) for name, upscale in networks if upscale.tiling is not None]
    for name, upscale in cut:
        console.print(f"{name}: {_tiling_text(upscale)}", highlight=False, soft_wrap=True, markup=False)
    if not cut and (options.tile, options.overlap) != (None, None):
        why = "no image was cut" if networks else "only networks work in tiles"
        print_notes([f"--tile and --overlap had no effect: {why}"], console)


def _tiling_text(upscale: Upscaler) -> str:
    tiling = upscale.tiling
    assert tiling is not None
    field = "the whole image" if tiling.receptive_field is None else f"{tiling.receptive_field} px"
    cut = f"in tiles of {tiling.side} LR px that overlap by {tiling.overlap}; the receptive field's radius is {field}"
    if tiling.exact or upscale.difference is None:
        return f"{cut}, so the result equals that of the whole image"
    changed = f"more overlap changed a tile by at most {255 * upscale.difference:.2g} levels of 255"
    remedy = "" if tiling.receptive_field is None else f"; --overlap {tiling.receptive_field} would be exact"
    return f"{cut}: {changed}{remedy}"


def _require_complete(scores: Scores, names: Sequence[str], per_image: Path | None) -> None:
    """Refuse a table with missing values; write the others to a file with another name."""
    if not scores.problems:
        return
    heading = "no table, because these outputs cannot be evaluated"
    if per_image is not None and scores.rows:
        partial = per_image.with_name(f"{per_image.stem}.incomplete{per_image.suffix}")
        write_images(scores.rows, names, partial)
        heading += f"; the other values are in {partial}"
    raise EvaluationError("\n".join([f"{heading}:", *(f"  {line}" for line in scores.problems)]))


def _provenance(
    systems: Sequence[System],
    sets: Sequence[TestSet],
    scale: int,
    backbones: Mapping[BackboneName, Path],
    autoencoder: tuple[Autoencoder, str] | None,
    limits: Limits,
) -> dict[str, Any]:
    """Return what determines the values: files, versions and conventions."""
    provenance: dict[str, Any] = {
        "scale": scale,
        "images": "HR cropped to multiples of 12, quantised to 8 bit",
        "low-quality images": {test.name: test.lq for test in sets},
        "backbones": {name: path.name for name, path in backbones.items()},
        "models": {
            system.name: f"{system.settings} sha256 {system.digest}".strip() for system in systems if system.digest
        },
        "version": f"aesop-study {__version__}, torch {torch.__version__}, {limits.device.type}",
    }
    if autoencoder is not None:
        provenance["auto-encoder of AE-PSNR"] = f"{autoencoder[0].extra_repr()} sha256 {autoencoder[1]}".strip()
    return {name: value for name, value in provenance.items() if value}


def _write(table: Table, scores: Scores, names: Sequence[str], options: argparse.Namespace, console: Console) -> None:
    for path in options.output:
        write_table(table, path)
    if options.per_image is not None:
        write_images(scores.rows, names, options.per_image)
    written = [*options.output, *([options.per_image] if options.per_image else [])]
    if options.save_images is not None:
        written.append(options.save_images)
    if written:
        console.print(f"written: {', '.join(map(str, written))}", highlight=False, soft_wrap=True, markup=False)


def command() -> None:
    """Run as `aesop-evaluate`."""
    run(main)


if __name__ == "__main__":
    command()
