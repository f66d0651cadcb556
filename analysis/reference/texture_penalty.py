"""How much of a photograph's texture does each loss penalise? The AESOP loss against the pixel loss, by bottleneck.

    python analysis/reference/texture_penalty.py runs/artifacts --hr Set5/HR Set14/HR --out texture.png
    python analysis/reference/texture_penalty.py AESOP_AE.pth runs/artifacts/autoencoder-... --hr test.arrow --images 20 --amplitude 2

Photographs are changed in four ways that cost the same pixel L1 (`analysis/reference/perturbations.py`): noise that shrinking sees, noise
that it does not see, and their own texture, where shrinking does not see it, stronger or weaker. A loss of (HR + change, HR) over
the pixel L1 of the same is the share that it penalises: 1 for the pixel loss. Nothing is clamped, for AESOP sees what generators put
out (METHODS 1.4); networks run in float32. Intervals are over photographs.

What to expect. A(x) is meant to be the expected photograph given its low frequencies (METHODS 1.1), so AESOP's share is near
1 for what shrinking sees, and near 0 for texture. Of the bottleneck as a hyper-parameter, METHODS 1.8 says: compression
ratio = channels / (3 * factor^2), 1/16 in the paper; "for a ratio >= 1 an ideal auto-encoder is the identity, so L_AESOP should
approach the pixel L1: a sanity check. The auto-encoder's PSNR should rise with the ratio." A wide bottleneck alone
makes no identity: `carries` says how many numbers the auto-encoder's narrowest place lets through for each bottleneck pixel.

Ratios of the bottleneck loss are in units that the encoder chose: compare them along a row, not between auto-encoders.
Beside the figure come its table (.csv) and every photograph's values (.parquet).
"""  # noqa: E501  # a command is one line

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

if not __package__:
    # Python puts a script's directory first on its path, where our file names could hide other packages.
    # What we import lies a level above, and the checkout need not be installed.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import pandas as pd
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from analysis.figures.plots import save_figure
from analysis.reference.artifact_networks import Passage, find_passages
from analysis.reference.perturbations import KINDS, perturb
from analysis.reference.texture_figure import draw_penalties
from analysis.statistics.resampling import resampled_weights, student_reach
from study.cli import progress
from study.data import bicubic_downsample, to_float
from study.data.image_set import CROP_MULTIPLE, ImageSet
from study.data.images import pixel_digest
from study.data.pairs import image_to_tensor
from study.data.sources import folder, stored
from study.files import write_atomically
from study.losses import pixel_loss
from study.metrics import psnr_y
from study.metrics.low_resolution import null_part
from study.models import Autoencoder

Eye = Callable[[Tensor], dict[str, Tensor]]
"""Images as losses see them: from (1, 3, H, W) to what each loss compares by L1, by the loss's name."""

SMALLEST_SIDE = 48
DRAWS = 2_000
LOSSES = ("pixel", "consistency", "ideal", "aesop", "bottleneck")
"""In the table's order. `ideal` is AESOP's loss if the auto-encoder passed what shrinking keeps, and no more."""

HEADS = {"low": "low", "high": "high", "stronger": "own +", "weaker": "own -"}
ABOUT = {"channels": ".0f", "compression": ".3g", "carries": ".0f"}


def plain_eye(scale: int) -> Eye:
    """The losses without a network: on pixels, on shrunk images, and on what shrinking keeps, B+ B x."""
    return lambda image: {
        "pixel": image,
        "consistency": bicubic_downsample(image, scale),
        "ideal": image.double() - null_part(image, scale),
    }


def autoencoder_eye(network: Autoencoder) -> Eye:
    """AESOP's loss and that on the bottleneck, in one pass."""

    def see(image: Tensor) -> dict[str, Tensor]:
        bottleneck = network.encode(image)
        return {"aesop": network.decode(bottleneck), "bottleneck": bottleneck}

    return see


@torch.no_grad()
def penalties(eye: Eye, hr: Tensor, changes: dict[str, Tensor]) -> Iterator[dict[str, Any]]:
    """Measure what each loss of an eye makes of each change to a photograph.

    Args:
        eye: what to look with.
        hr: shape (1, 3, H, W), in the precision to measure in.
        changes: by kind, of that shape.

    Yields:
        A row per kind and loss: `share`, the loss over the pixel L1 of the same pair. Where the loss compares images,
        also `unchanged`, what comes through as it went in, <A(hr + change) - A(hr), change> / <change, change>, and
        `psnr_y`, of A(hr) against hr.
    """
    targets = eye(hr)
    passed = {loss: float(psnr_y(seen, hr)) if seen.shape == hr.shape else math.nan for loss, seen in targets.items()}
    for kind, change in changes.items():
        image = (hr + change).to(hr.dtype)
        pixel = pixel_loss(image, hr)
        for loss, seen in eye(image).items():
            share = float(pixel_loss(seen, targets[loss]) / pixel)
            unchanged = _unchanged(seen - targets[loss], change)
            yield {"loss": loss, "kind": kind, "share": share, "unchanged": unchanged, "psnr_y": passed[loss]}


def measure(
    passages: Sequence[Passage],
    photographs: Sequence[tuple[str, np.ndarray]],
    *,
    scale: int,
    amplitude: float,
    seed: int = 0,
    advance: Callable[[float], None] = lambda done: None,
) -> pd.DataFrame:
    """Measure every loss on every photograph.

    Args:
        passages: the auto-encoders.
        photographs: names and (H, W, 3) uint8 images, sides multiples of the scale and of what the auto-encoders take.
        scale: of the SR that the texture is for.
        amplitude: pixel L1 of all changes, in levels of 255.
        seed: of the noise, which depends on nothing else but the photograph.
        advance: is told how many photographs are done.

    Returns:
        A row per photograph, loss, auto-encoder and kind of change: as `penalties`, with `texture_share` as in
        `Perturbations`.

    Raises:
        ValueError: a photograph without texture, or of which a network makes something that is not finite.
    """
    rows = []
    for done, (name, pixels) in enumerate(photographs, start=1):
        hr = to_float(image_to_tensor(pixels))
        random = np.random.default_rng([seed, int(pixel_digest(pixels)[:15], 16)])
        try:
            changes = perturb(hr, scale, amplitude / 255, random)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        eyes = {"": plain_eye(scale)} | {passage.name: autoencoder_eye(passage.network) for passage in passages}
        for passage, eye in eyes.items():
            for row in penalties(eye, hr, changes.by_kind):
                _require_finite(row["share"], passage, name)
                rows.append({"image": name, "autoencoder": passage, "texture_share": changes.texture_share} | row)
        advance(done)
    return pd.DataFrame(rows)


def summarise(values: pd.DataFrame, passages: Sequence[Passage]) -> pd.DataFrame:
    """Average over photographs: a row per loss, auto-encoder and kind of change, with the 95% interval of the share."""
    images = values["image"].nunique()
    # One matrix for all, so that equal shares have equal intervals.
    weights = resampled_weights(images, DRAWS, np.random.default_rng(0))
    about = {passage.name: passage for passage in passages}
    rows = []
    for (loss, name, kind), part in values.groupby(["loss", "autoencoder", "kind"], sort=False):
        shares = part["share"].to_numpy(dtype=np.float64)
        reach = float(student_reach(weights @ shares, images)) if images > 1 else math.nan
        mean = float(shares.mean())
        rows.append(
            {
                "loss": loss,
                **_described(about.get(name)),
                "kind": kind,
                "images": images,
                "share": mean,
                "low": mean - reach,
                "high": mean + reach,
                "unchanged": float(part["unchanged"].mean()),
                "psnr_y": float(part["psnr_y"].mean()),
            }
        )
    table = pd.DataFrame(rows)
    order = table["loss"].map(LOSSES.index)
    return table.assign(order=order).sort_values("order", kind="stable").drop(columns="order").reset_index(drop=True)


def main(arguments: list[str], console: Console) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    passages = find_passages(options.autoencoders)
    photographs = list(_photographs(options))
    with progress(console, "photographs", len(photographs)) as advance:
        values = measure(
            passages,
            photographs,
            scale=options.scale,
            amplitude=options.amplitude,
            seed=options.seed,
            advance=advance,
        )
    table = summarise(values, passages)
    save_figure(draw_penalties(table, options.scale), options.out, options.out.suffix.removeprefix("."))
    write_atomically(options.out.with_suffix(".csv"), table.to_csv(index=False).encode())
    write_atomically(options.out.with_suffix(".parquet"), values.to_parquet(index=False))
    console.print(_to_terminal(table))
    for line in _sentences(values, table, options.amplitude):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"figure: {options.out}; beside it .csv and .parquet", highlight=False, soft_wrap=True)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="analysis/reference/texture_penalty.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "autoencoders",
        nargs="+",
        type=Path,
        metavar="AUTOENCODER",
        help="a weight file, an artifact's folder, or a folder of artifacts: all auto-encoders in it",
    )
    parser.add_argument(
        "--hr", nargs="+", type=Path, required=True, metavar="DIR", help="folders of photographs, or stores"
    )
    parser.add_argument(
        "--side", type=int, metavar="PX", help="of the window in the middle of each (default: whole photographs)"
    )
    parser.add_argument("--images", type=int, metavar="N", help="of each folder, the first ones (default: all)")
    parser.add_argument(
        "--amplitude", type=float, default=4.0, metavar="LEVELS", help="pixel L1 of the changes, in levels of 255"
    )
    parser.add_argument("--scale", type=int, choices=[2, 3, 4], default=4, help="that shrinking is by")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise")
    parser.add_argument("--out", type=Path, default=Path("texture.png"), metavar="FIGURE", help="a .png or .svg")
    options = parser.parse_args(arguments)
    if options.out.suffix not in (".png", ".svg"):
        parser.error(f"--out must end in .png or .svg, but got {options.out}")
    if options.side is not None and (options.side % CROP_MULTIPLE or options.side < SMALLEST_SIDE):
        rule = f"a multiple of {CROP_MULTIPLE}, at least {SMALLEST_SIDE}"
        parser.error(f"--side must be {rule}, but got {options.side}")
    if options.images is not None and options.images < 1:
        parser.error(f"--images must be at least 1, but got {options.images}")
    if not 0 < options.amplitude <= 255:
        parser.error(f"--amplitude must be above 0 and at most 255 levels, but got {options.amplitude:g}")
    if not options.out.resolve().parent.is_dir():
        parser.error(f"--out: there is no folder {options.out.resolve().parent}; create it")
    return options


def _photographs(options: argparse.Namespace) -> Iterator[tuple[str, np.ndarray]]:
    """The first photographs of each source, cropped to multiples of 12 as test images are; or their windows."""
    for path in dict.fromkeys(options.hr):
        images = _opened(path, options.scale).cropped(CROP_MULTIPLE)
        for index in range(min(len(images), options.images or len(images))):
            yield str(path / images.names[index]), _window(images.images[index], options.side)


def _window(pixels: np.ndarray, side: int | None) -> np.ndarray:
    """The middle of a photograph, where it is larger than that."""
    height, width = (min(length, side or length) for length in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _opened(path: Path, scale: int) -> ImageSet:
    return stored(path, scale=scale) if path.is_file() else folder(path, minimum_side=SMALLEST_SIDE)


def _unchanged(seen: Tensor, change: Tensor) -> float:
    """The share of a change in what became of it, by least squares."""
    if seen.shape != change.shape:
        return math.nan
    return float((seen.double() * change).sum() / change.square().sum())


def _require_finite(share: float, passage: str, image: str) -> None:
    if not math.isfinite(share):
        raise ValueError(
            f"{passage} makes something that is not finite of {image}; its weights are damaged, or diverged"
        )


def _described(passage: Passage | None) -> dict[str, Any]:
    """What the table says of an auto-encoder; of none, nothing."""
    if passage is None:
        return {
            "autoencoder": "",
            "channels": math.nan,
            "factor": math.nan,
            "compression": math.nan,
            "carries": math.nan,
        }
    return {
        "autoencoder": passage.name,
        "channels": passage.network.bottleneck_channels,
        "factor": passage.network.factor,
        "compression": passage.compression,
        "carries": passage.carries,
    }


def _to_terminal(table: pd.DataFrame) -> Table:
    """Narrow enough for 80 columns: intervals stand below."""
    title = "share of the pixel L1 that a loss penalises, with 95% intervals"
    shown = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in ("loss", "channels", "ratio", "carries", *HEADS.values(), "PSNR"):
        shown.add_column(head, justify="left" if head == "loss" else "right")
    for (loss, _), part in table.groupby(["loss", "autoencoder"], sort=False):
        first = part.iloc[0]
        cells = {row.kind: _with_reach(row.share, row.high - row.share) for row in part.itertuples()}
        about = [_number(first[name], form) for name, form in ABOUT.items()]
        shown.add_row(loss, *about, *(cells[kind] for kind in HEADS), _number(first["psnr_y"], ".2f"))
    return shown


def _sentences(values: pd.DataFrame, table: pd.DataFrame, amplitude: float) -> Iterator[str]:
    """What the table cannot say of itself."""
    yield f"changes cost a pixel L1 of {amplitude:g} levels of 255; {values['image'].nunique()} photographs, unclamped"
    yield "; ".join(f"{head}: {KINDS[kind]}" for kind, head in HEADS.items())
    yield "ideal: AESOP's loss if the auto-encoder passed what shrinking keeps, and no more"
    yield "PSNR: on luma, of the auto-encoded photograph; carries: of what the bottleneck's channels could hold"
    seen = values[(values["loss"] == "consistency") & (values["kind"] == "high")]["share"].max()
    yield f"of the high-frequency noise, shrinking sees at most {seen:.1g} of its pixel L1: rounding to float32"
    shares = values.groupby("image")["texture_share"].first()
    yield (
        f"own texture is changed by {shares.median():.2g} of itself in the median photograph, "
        f"{shares.min():.2g} to {shares.max():.2g} in all"
    )
    for row in table[(table["loss"] == "aesop") & (table["kind"] == "high")].itertuples():
        most = 3 * int(row.factor) ** 2
        if row.carries < most <= row.channels:
            yield (
                f"{row.autoencoder}: its bottleneck holds {row.channels:.0f} of {most} numbers, but its narrowest "
                f"place carries {row.carries:.0f}: it cannot be the identity, more features could"
            )


def _with_reach(share: float, reach: float) -> str:
    return f"{share:.3f}" if math.isnan(reach) else f"{share:.3f}\n±{reach:.3f}"


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else f"{value:{form}}"


if __name__ == "__main__":
    # Late: what ends commands of ours well is in study/, but importing this file must not touch the arguments.
    from study.cli import run

    run(main)
