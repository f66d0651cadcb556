"""How much of a photograph's texture does each loss penalise? The AESOP loss against the pixel loss, by bottleneck.

    python -m analysis.reference.texture_penalty runs/artifacts --hr Set5/HR Set14/HR --output texture.png
    python -m analysis.reference.texture_penalty AESOP_AE.pth --hr test.arrow --max-images 20 --amplitude 2

Photographs are perturbed in four ways of equal pixel L1 (`analysis/reference/perturbations.py`): low-frequency noise,
noise in the null space of downsampling, and the photograph's texture (its null-space part), stronger or weaker. The
share that a loss penalises is its value at (HR + perturbation, HR) over the pixel L1 of the same: 1 for the pixel loss.
Images are not clamped, since losses see unclamped generator outputs; networks run in float32. Intervals are over
photographs.

What to expect (docs/methods/aesop.md). A(x) approximates the expected photograph given its low frequencies, so AESOP's
share is near 1 for low-frequency noise and near 0 for texture. The compression ratio is channels / (3 * factor^2), 1/16
in the paper; at a ratio of 1 or more an ideal auto-encoder is the identity, so AESOP's loss approaches the pixel L1,
and the auto-encoder's PSNR rises with the ratio. A wide bottleneck alone makes no identity: `capacity` is how many
numbers the narrowest layer can pass for each bottleneck pixel.

Shares of the bottleneck loss are in the encoder's units: compare them along a row, not between auto-encoders. With the
figure come its table (.csv) and the values of every photograph (.parquet).
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from analysis.figures.plots import save_figure
from analysis.page.exports import csv_text
from analysis.reference.artifact_networks import OpenedAutoencoder, find_autoencoders
from analysis.reference.perturbations import KINDS, perturb
from analysis.reference.texture_figure import draw_penalties
from analysis.statistics.resampling import resampled_weights, student_reach
from study.cli import progress, run
from study.command_parser import CommandParser, seed
from study.data import bicubic_downsample, to_float
from study.data.image_set import CROP_MULTIPLE, ImageSet
from study.data.images import pixel_digest
from study.data.layouts import find_layout
from study.data.pairs import image_to_tensor
from study.data.sources import folder, stored
from study.files import write_atomically
from study.losses import pixel_loss
from study.metrics import psnr_y
from study.metrics.low_resolution import null_part
from study.models import Autoencoder
from study.record.directory import check_not_recorded

Representation = Callable[[Tensor], dict[str, Tensor]]
"""Maps an image (1, 3, H, W) to the tensors that losses compare by L1, by the loss's name."""

SMALLEST_SIDE = 48
DRAWS = 2_000
LOSSES = ("pixel", "consistency", "ideal", "aesop", "bottleneck")
"""In the table's order. `ideal`: AESOP's loss with the projection onto what downsampling keeps as auto-encoder."""

HEADS = {"low": "low", "high": "high", "stronger": "own +", "weaker": "own -"}
ABOUT = {"channels": ".0f", "compression": ".3g", "capacity": ".0f"}


def plain_representation(scale: int) -> Representation:
    """Return the losses without a network: of pixels, of downsampled images, and of the projection B+ B x."""
    return lambda image: {
        "pixel": image,
        "consistency": bicubic_downsample(image, scale),
        "ideal": image.double() - null_part(image, scale),
    }


def autoencoder_representation(network: Autoencoder) -> Representation:
    """Return AESOP's loss and the bottleneck loss, in one pass."""

    def represent(image: Tensor) -> dict[str, Tensor]:
        bottleneck = network.encode(image)
        return {"aesop": network.decode(bottleneck), "bottleneck": bottleneck}

    return represent


@torch.no_grad()
def penalties(representation: Representation, hr: Tensor, perturbations: dict[str, Tensor]) -> Iterator[dict[str, Any]]:
    """Measure each loss of a representation for each perturbation of a photograph.

    Args:
        representation: of the losses.
        hr: shape (1, 3, H, W), in the precision to measure in.
        perturbations: by kind, of that shape.

    Yields:
        A row per kind and loss: `share`, the loss over the pixel L1 of the same pair; for losses that compare images,
        also `unchanged`, the share of the perturbation that passes, <A(hr + p) - A(hr), p> / <p, p>, and `psnr_y` of
        A(hr) against hr.
    """
    targets = representation(hr)
    psnr = {loss: float(psnr_y(each, hr)) if each.shape == hr.shape else math.nan for loss, each in targets.items()}
    for kind, change in perturbations.items():
        image = (hr + change).to(hr.dtype)
        pixel = pixel_loss(image, hr)
        for loss, value in representation(image).items():
            share = float(pixel_loss(value, targets[loss]) / pixel)
            unchanged = _unchanged(value - targets[loss], change)
            yield {"loss": loss, "kind": kind, "share": share, "unchanged": unchanged, "psnr_y": psnr[loss]}


def measure(
    autoencoders: Sequence[OpenedAutoencoder],
    photographs: Sequence[tuple[str, np.ndarray]],
    *,
    scale: int,
    amplitude: float,
    seed: int = 0,
    advance: Callable[[float], None] = lambda done: None,
) -> pd.DataFrame:
    """Measure every loss on every photograph.

    Args:
        autoencoders: the auto-encoders.
        photographs: names and (H, W, 3) uint8 images, sides multiples of the scale and of the auto-encoders' factors.
        scale: of downsampling.
        amplitude: pixel L1 of all perturbations, in levels of 255.
        seed: of the noise, which depends on it and on the photograph alone.
        advance: called with the number of photographs that are done.

    Returns:
        A row per photograph, loss, auto-encoder and kind: as `penalties`, with `texture_share` of `Perturbations`.

    Raises:
        ValueError: a photograph without texture, or an output of a network that is not finite.
    """
    rows = []
    for done, (name, pixels) in enumerate(photographs, start=1):
        hr = to_float(image_to_tensor(pixels))
        random = np.random.default_rng([seed, int(pixel_digest(pixels)[:15], 16)])
        try:
            changes = perturb(hr, scale, amplitude / 255, random)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        representations = {"": plain_representation(scale)}
        representations |= {each.name: autoencoder_representation(each.network) for each in autoencoders}
        for autoencoder, representation in representations.items():
            for row in penalties(representation, hr, changes.by_kind):
                _require_finite(row["share"], autoencoder, name)
                rows.append({"image": name, "autoencoder": autoencoder, "texture_share": changes.texture_share} | row)
        advance(done)
    return pd.DataFrame(rows)


def summarise(values: pd.DataFrame, autoencoders: Sequence[OpenedAutoencoder]) -> pd.DataFrame:
    """Average over photographs: a row per loss, auto-encoder and kind, with the 95% interval of the share."""
    images = values["image"].nunique()
    # One matrix for all rows, so that equal shares have equal intervals.
    weights = resampled_weights(images, DRAWS, np.random.default_rng(0))
    about = {each.name: each for each in autoencoders}
    rows = []
    for (loss, name, kind), part in values.groupby(["loss", "autoencoder", "kind"], sort=False):
        shares = part["share"].to_numpy(dtype=np.float64)
        margin = float(student_reach(weights @ shares, images)) if images > 1 else math.nan
        mean = float(shares.mean())
        rows.append(
            {
                "loss": loss,
                **_described(about.get(name)),
                "kind": kind,
                "images": images,
                "share": mean,
                "low": mean - margin,
                "high": mean + margin,
                "unchanged": float(part["unchanged"].mean()),
                "psnr_y": float(part["psnr_y"].mean()),
            }
        )
    table = pd.DataFrame(rows)
    order = table["loss"].map(LOSSES.index)
    return table.assign(order=order).sort_values("order", kind="stable").drop(columns="order").reset_index(drop=True)


def main(arguments: list[str], console: Console) -> int:
    """Run the command; return its exit code."""
    options = _parse(arguments)
    autoencoders = find_autoencoders(options.autoencoders)
    photographs = list(_photographs(options))
    with progress(console, "photographs", len(photographs)) as advance:
        values = measure(
            autoencoders,
            photographs,
            scale=options.scale,
            amplitude=options.amplitude,
            seed=options.seed,
            advance=advance,
        )
    table = summarise(values, autoencoders)
    save_figure(draw_penalties(table, options.scale), options.output, options.output.suffix.removeprefix("."))
    write_atomically(options.output.with_suffix(".csv"), csv_text(table).encode())
    write_atomically(options.output.with_suffix(".parquet"), values.to_parquet(index=False))
    console.print(_to_terminal(table))
    for line in _sentences(values, table, options.amplitude):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"figure: {options.output}; beside it .csv and .parquet", highlight=False, soft_wrap=True)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = CommandParser(prog="python -m analysis.reference.texture_penalty", description=__doc__)
    parser.add_argument(
        "autoencoders",
        nargs="+",
        type=Path,
        metavar="AUTOENCODER",
        help="a weight file, an artifact's folder, or a folder of artifacts with auto-encoders",
    )
    parser.add_argument(
        "--hr", nargs="+", type=Path, required=True, metavar="DIR", help="folders of photographs, or stores"
    )
    parser.add_argument("--side", type=int, metavar="PX", help="side of a centred window (default: whole photographs)")
    parser.add_argument("--max-images", type=int, metavar="N", help="use the first N of each folder (default: all)")
    parser.add_argument(
        "--amplitude",
        type=float,
        default=4.0,
        metavar="LEVELS",
        help="pixel L1 of the perturbations, in levels of 255 (default: 4)",
    )
    parser.add_argument("--scale", type=int, choices=[2, 3, 4], default=4, help="of downsampling (default: 4)")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="of the noise")
    parser.add_argument("--output", type=Path, default=Path("texture.png"), metavar="FIGURE", help="a .png or .svg")
    options = parser.parse_args(arguments)
    if options.output.suffix not in (".png", ".svg"):
        parser.error(f"--output must end in .png or .svg, but got {options.output}")
    check_not_recorded(options.output, "--output")
    if options.side is not None and (options.side % CROP_MULTIPLE or options.side < SMALLEST_SIDE):
        rule = f"a multiple of {CROP_MULTIPLE}, at least {SMALLEST_SIDE}"
        parser.error(f"--side must be {rule}, but got {options.side}")
    if options.max_images is not None and options.max_images < 1:
        parser.error(f"--max-images must be at least 1, but got {options.max_images}")
    if not 0 < options.amplitude <= 255:
        parser.error(f"--amplitude must be above 0 and at most 255 levels, but got {options.amplitude:g}")
    if not options.output.resolve().parent.is_dir():
        parser.error(f"--output: the folder {options.output.resolve().parent} does not exist; create it")
    return options


def _photographs(options: argparse.Namespace) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the first photographs of each source, cropped to multiples of 12 as test images, or their windows."""
    for path in dict.fromkeys(options.hr):
        images = _opened(path, options.scale).cropped(CROP_MULTIPLE)
        for index in range(min(len(images), options.max_images or len(images))):
            yield str(path / images.names[index]), _window(images.images[index], options.side)


def _window(pixels: np.ndarray, side: int | None) -> np.ndarray:
    """Return the centred window of a photograph, at most as large as the photograph."""
    height, width = (min(length, side or length) for length in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _opened(path: Path, scale: int) -> ImageSet:
    if path.is_file():
        return stored(path, scale=scale)
    return folder(find_layout([path], scale=scale, lq=None), scale=scale, least=SMALLEST_SIDE)


def _unchanged(passed: Tensor, change: Tensor) -> float:
    """Return the share of a perturbation that passes, by least squares."""
    if passed.shape != change.shape:
        return math.nan
    return float((passed.double() * change).sum() / change.square().sum())


def _require_finite(share: float, name: str, image: str) -> None:
    if not math.isfinite(share):
        raise ValueError(f"{name} gives a value that is not finite for {image}; its weights are damaged, or diverged")


def _described(opened: OpenedAutoencoder | None) -> dict[str, Any]:
    """Return the columns of an auto-encoder; empty for none."""
    if opened is None:
        return {
            "autoencoder": "",
            "channels": math.nan,
            "factor": math.nan,
            "compression": math.nan,
            "capacity": math.nan,
        }
    return {
        "autoencoder": opened.name,
        "channels": opened.network.bottleneck_channels,
        "factor": opened.network.factor,
        "compression": opened.compression,
        "capacity": opened.capacity,
    }


def _to_terminal(table: pd.DataFrame) -> Table:
    """Return a table for 80 columns, with intervals below the shares."""
    title = "share of the pixel L1 that a loss penalises, with 95% intervals"
    shown = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in ("loss", "channels", "ratio", "capacity", *HEADS.values(), "PSNR"):
        shown.add_column(head, justify="left" if head == "loss" else "right")
    for (loss, _), part in table.groupby(["loss", "autoencoder"], sort=False):
        first = part.iloc[0]
        cells = {row.kind: _with_margin(row.share, row.high - row.share) for row in part.itertuples()}
        about = [_number(first[name], form) for name, form in ABOUT.items()]
        shown.add_row(loss, *about, *(cells[kind] for kind in HEADS), _number(first["psnr_y"], ".2f"))
    return shown


def _sentences(values: pd.DataFrame, table: pd.DataFrame, amplitude: float) -> Iterator[str]:
    """Yield the notes below the table."""
    photographs = values["image"].nunique()
    yield f"perturbations have a pixel L1 of {amplitude:g} levels of 255; {photographs} photographs, unclamped"
    yield "; ".join(f"{head}: {KINDS[kind]}" for kind, head in HEADS.items())
    yield "ideal: AESOP's loss if the auto-encoder passed exactly what downsampling keeps"
    yield "PSNR: on luma, of the auto-encoded photograph; capacity: numbers that pass for each bottleneck pixel"
    kept = values[(values["loss"] == "consistency") & (values["kind"] == "high")]["share"].max()
    yield f"downsampling keeps at most {kept:.1g} of the high-frequency noise's pixel L1: rounding to float32"
    shares = values.groupby("image")["texture_share"].first()
    yield (
        f"the photograph's texture is changed by {shares.median():.2g} of itself in the median, "
        f"{shares.min():.2g} to {shares.max():.2g} in all"
    )
    for row in table[(table["loss"] == "aesop") & (table["kind"] == "high")].itertuples():
        most = 3 * int(row.factor) ** 2
        if row.capacity < most <= row.channels:
            yield (
                f"{row.autoencoder}: its bottleneck has {row.channels:.0f} numbers for {most}, but its narrowest layer "
                f"passes {row.capacity:.0f}: it cannot be the identity; raise its features"
            )


def _with_margin(share: float, margin: float) -> str:
    return f"{share:.3f}" if math.isnan(margin) else f"{share:.3f}\n±{margin:.3f}"


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else f"{value:{form}}"


if __name__ == "__main__":
    run(main)
