"""Which images does each loss favour? Start from noise and minimise the loss over the pixels.

    python -m analysis.reference.loss_landscape photograph.png --weights WEIGHTS --output landscape.png
    python -m analysis.reference.loss_landscape photograph.png --artifact runs/artifacts/autoencoder-0123456789abcdef

One figure with all available losses: pixel and structural losses always; VGG and LPIPS if --weights has their networks;
AESOP and MDF with the auto-encoders and critics of a study. MDF's authors show the same experiment for their losses
(docs/methods/mdf.md).
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from analysis.figures.plots import save_figure
from analysis.reference.artifact_networks import artifact_part, open_autoencoder
from study.cli import run
from study.command_parser import CommandParser, seed
from study.data import bicubic_downsample
from study.data.images import read_image
from study.losses import (
    aesop_loss,
    build_perceptual,
    consistency_loss,
    mdf_loss,
    ms_ssim_loss,
    pixel_loss,
    ssim_loss,
)
from study.metrics import LpipsMetric, psnr_y, quantise
from study.models import Critics, load_weights
from study.models.backbones import find_backbone
from study.record.directory import check_not_recorded

Loss = Callable[[Tensor], Tensor]
"""Maps an image (1, 3, H, W) to the loss, shape (1,)."""

MULTIPLE = 12
SMALLEST_SIDE = 36
COLUMNS = 4
PANEL_INCHES = 2.4
PERCEPTUAL = {"vgg19": "VGG-19 (ESRGAN's)", "vgg16": "VGG-16 (MDF's mix)", "squeezenet": "LPIPS, SqueezeNet"}
EVALUATOR = "alexnet"


@dataclass(frozen=True)
class Descent:
    """The result of minimising a loss.

    Attributes:
        name: of the loss.
        image: shape (1, 3, H, W), in [0, 1], 8-bit levels.
        first, last: the loss at the start and at the end.
        psnr: against the photograph, in dB.
        lpips: against the photograph; None without published AlexNet weights.
    """

    name: str
    image: Tensor
    first: float
    last: float
    psnr: float
    lpips: float | None


def descend(loss: Loss, start: Tensor, *, iterations: int = 500, learning_rate: float = 0.1) -> tuple[Tensor, float]:
    """Minimise a loss over the pixels of an image by Adam, without bounds on them.

    Args:
        loss: to minimise.
        start: shape (1, 3, H, W).
        iterations, learning_rate: of Adam.

    Returns:
        The image, not clamped, and its loss.

    Raises:
        ValueError: the gradient is not finite.
    """
    image = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([image], lr=learning_rate)
    for iteration in range(iterations):
        optimiser.zero_grad(set_to_none=True)
        loss(image).sum().backward()
        if image.grad is None or not torch.isfinite(image.grad).all():
            raise ValueError(f"the gradient is not finite in iteration {iteration + 1}")
        optimiser.step()
    with torch.no_grad():
        return image.detach(), float(loss(image))


def plain_losses(hr: Tensor, scale: int) -> dict[str, Loss]:
    """Return the losses without a network."""
    lq = bicubic_downsample(hr, scale)
    return {
        "pixel L1": lambda sr: pixel_loss(sr, hr),
        "pixel L2": lambda sr: pixel_loss(sr, hr, criterion="l2"),
        "SSIM": lambda sr: ssim_loss(sr, hr),
        "0.84 MS-SSIM + 0.16 L1": lambda sr: ms_ssim_loss(sr, hr),
        f"shrunk by {scale} (consistency)": lambda sr: consistency_loss(sr, lq, scale, border=0),
    }


def perceptual_losses(hr: Tensor, weights: Path | None) -> dict[str, Loss]:
    """Return VGG's and LPIPS's distances of the networks that are found, including the evaluator's."""
    losses: dict[str, Loss] = {}
    for name, label in {**PERCEPTUAL, EVALUATOR: "LPIPS, AlexNet (the evaluator)"}.items():
        path = find_backbone(name, weights)  # type: ignore[arg-type]  # names of backbones
        if path is not None:
            losses[label] = _against(build_perceptual(name, path), hr)  # type: ignore[arg-type]
    return losses


def artifact_loss(folder: Path, hr: Tensor) -> tuple[str, Loss]:
    """Build the loss of a study's artifact: AESOP's of an auto-encoder, MDF's of critics; return its name and itself.

    Raises:
        ValueError: the folder is neither.
    """
    stage, part = artifact_part(folder)
    if stage == "autoencoder":
        return _aesop(folder, part, hr)
    if stage == "critics":
        critics = Critics(part["levels"], part["features"], part["largest_features"])
        load_weights(critics, folder / "weights.safetensors")
        used = min(8, part["levels"])
        return f"MDF, {used} critics", lambda sr: mdf_loss(critics, sr, hr, used=used)
    raise ValueError(
        f"{folder} is an artifact of stage {stage}, which is part of no loss; give critics or auto-encoders"
    )


def draw(photograph: Tensor, start: Tensor, descents: list[Descent]) -> Figure:
    """Draw the photograph, the noise and the result of each loss in a grid."""
    panels = [("the photograph", photograph, ""), ("the start: noise", start, "")]
    panels += [(found.name, found.image, _caption(found)) for found in descents]
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * PANEL_INCHES, rows * (PANEL_INCHES + 0.55)), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (title, image, caption) in zip(grid.flat, panels, strict=False):
        _panel(axes, title, image, caption)
    return figure


def main(arguments: list[str], console: Console) -> int:
    """Run the command; return its exit code."""
    options = _parse(arguments)
    hr = _window(options.image, options.side)
    torch.manual_seed(options.seed)
    start = torch.rand_like(hr)
    losses = plain_losses(hr, options.scale) | perceptual_losses(hr, options.weights)
    losses |= dict(artifact_loss(folder, hr) for folder in options.artifact)
    alexnet = find_backbone("alexnet", options.weights)
    evaluator = None if alexnet is None else LpipsMetric(alexnet)
    descents = []
    with Progress(console=console) as progress:
        task = progress.add_task("descending", total=len(losses))
        for name, loss in losses.items():
            progress.update(task, description=name)
            descents.append(_descent(name, loss, start, hr, evaluator, options))
            progress.advance(task)
    save_figure(draw(hr, start, descents), options.output, options.output.suffix.removeprefix("."))
    for found in descents:
        console.print(f"{found.name}: {found.first:.4g} -> {found.last:.4g}; {_caption(found)}", highlight=False)
    console.print(f"figure: {options.output}", highlight=False, soft_wrap=True)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = CommandParser(prog="python -m analysis.reference.loss_landscape", description=__doc__)
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a photograph")
    parser.add_argument("--output", type=Path, default=Path("landscape.png"), metavar="FILE", help="the figure")
    parser.add_argument("--side", type=int, default=144, metavar="PX", help="side of the centred window (default: 144)")
    parser.add_argument("--iterations", type=int, default=500, metavar="N", help="of Adam (default: 500)")
    parser.add_argument("--scale", type=int, choices=[2, 3, 4], default=4, help="of the consistency loss")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="folder with published network weights")
    parser.add_argument(
        "--artifact",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="an auto-encoder or critics of a study",
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="of the noise")
    options = parser.parse_args(arguments)
    if options.side % MULTIPLE or options.side < SMALLEST_SIDE:
        parser.error(f"--side must be a multiple of {MULTIPLE}, at least {SMALLEST_SIDE}, but got {options.side}")
    if options.output.suffix not in (".png", ".svg"):
        parser.error(f"--output must end in .png or .svg, but got {options.output}")
    check_not_recorded(options.output, "--output")
    if options.iterations < 1:
        parser.error(f"--iterations must be at least 1, but got {options.iterations}")
    return options


def _window(path: Path, side: int) -> Tensor:
    """Return the centred window of a photograph, shape (1, 3, side, side), in [0, 1]."""
    pixels = read_image(path)
    height, width = pixels.shape[:2]
    if min(height, width) < side:
        raise ValueError(f"{path} is {width} x {height} px, smaller than the window of {side} px; lower --side")
    top, left = (height - side) // 2, (width - side) // 2
    window = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    return torch.from_numpy(window).permute(2, 0, 1)[None].float() / 255


def _descent(
    name: str, loss: Loss, start: Tensor, hr: Tensor, evaluator: LpipsMetric | None, options: argparse.Namespace
) -> Descent:
    with torch.no_grad():
        first = float(loss(start))
    try:
        image, last = descend(loss, start, iterations=options.iterations)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    shown = quantise(image)
    lpips = None if evaluator is None else float(evaluator(shown, hr))
    return Descent(name, shown, first, last, float(psnr_y(shown, hr)), lpips)


def _against(module: torch.nn.Module, hr: Tensor) -> Loss:
    return lambda sr: module(sr, hr)


def _aesop(folder: Path, part: dict[str, Any], hr: Tensor) -> tuple[str, Loss]:
    network = open_autoencoder(folder, part)
    label = f"AESOP, {part['bottleneck_channels']} channels, 1/{part['factor']}"
    return label, lambda sr: aesop_loss(network, sr, hr)


def _caption(found: Descent) -> str:
    lpips = "" if found.lpips is None else f", LPIPS {found.lpips:.3f}"
    return f"{found.psnr:.1f} dB{lpips}"


def _panel(axes: Axes, title: str, image: Tensor, caption: str) -> None:
    axes.imshow(image[0].clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set_title("\n".join(_lines(title, caption)), fontsize=8)


def _lines(title: str, caption: str) -> Iterator[str]:
    yield title
    if caption:
        yield caption


if __name__ == "__main__":
    run(main)
