"""Maps of the pixel loss and the AESOP loss of the same image (as in figure 2 of the AESOP paper).

The pixel loss against HR is high wherever there is texture: no two textures agree pixel by pixel. Between auto-encoded
images most of that difference is gone; what is left passes the bottleneck (docs/methods/aesop.md).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.crops import HR_SAMPLES
from analysis.figures.plots import SETTINGS
from analysis.formatting import point_name, short_text
from analysis.statistics.fronts import front_of, is_of_trial
from analysis.statistics.tables import Results
from study.record.paths import WEIGHTS

MOST_POINTS = 3
_MOST_PIXELS = 2**20  # of a crop
BRIGHTEST = 99.5
"""Percentile of the pixel loss map that all maps show brightest."""


@dataclass(frozen=True, kw_only=True)
class LossMaps:
    """A crop with its two maps.

    Attributes:
        title: which point, and which image.
        sr, hr: the crops, shape (H, W, 3), in [0, 1].
        pixel, aesop: mean absolute difference over channels, of the images and of the auto-encoded ones, shape (H, W).
    """

    title: str
    sr: np.ndarray
    hr: np.ndarray
    pixel: np.ndarray
    aesop: np.ndarray


def loss_maps(run_dir: Path, results: Results, artifacts: Path) -> tuple[LossMaps, ...]:
    """Compute the maps of the fidelity generator and of front members, from their crops of the first validation image.

    Args:
        run_dir: of the study, with its sample crops.
        results: the study.
        artifacts: the folder with the study's artifacts; the auto-encoder is that of the most perceptual AESOP point.

    Returns:
        Empty where crops, auto-encoder or its weights are missing.

    Raises:
        ValueError: an artifact or a crop is damaged.
    """
    front = front_of(results.points, results.goals)
    column = "artifact.autoencoder"
    guided = front[is_of_trial(front) & np.asarray(front[column].notna(), dtype=bool)] if column in front else front[:0]
    folders = [artifacts / str(key) for key in guided[column].iloc[::-1]] if len(guided) else []
    folder = next((place for place in folders if (place / WEIGHTS).is_file()), None)
    if folder is None:
        return ()
    return tuple(_maps(run_dir, results, folder, [*_chosen(results, front)]))


def _chosen(results: Results, front: pd.DataFrame) -> Iterator[pd.Series]:
    """Yield the fidelity generator, and the trials' points at both ends of the front."""
    for _, point in results.points[results.points["kind"] == "fidelity"].head(1).iterrows():
        yield point
    members = front[is_of_trial(front)]
    for row in sorted({0, len(members) - 1} & set(range(len(members)))):
        yield members.iloc[row]


def _maps(run_dir: Path, results: Results, folder: Path, points: list[pd.Series]) -> Iterator[LossMaps]:
    import torch

    from study.evaluation.systems import open_autoencoder

    network, _ = open_autoencoder(folder)

    def encoded(image: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            out = network(torch.from_numpy(image).permute(2, 0, 1)[None])
        return np.asarray(out[0].permute(1, 2, 0).numpy())

    for image in results.metadata.val_images:
        hr = _crop(run_dir, HR_SAMPLES, image)
        found = [(point, _crop(run_dir, str(point["samples"]), image)) for point in points]
        if hr is None or any(sr is None or sr.shape != hr.shape for _, sr in found):
            continue
        target = encoded(hr)
        for point, sr in found[:MOST_POINTS]:
            assert sr is not None
            yield LossMaps(
                title=f"{point_name(point)}, {short_text(image)}",
                sr=sr,
                hr=hr,
                pixel=np.abs(sr - hr).mean(axis=2),
                aesop=np.abs(encoded(sr) - target).mean(axis=2),
            )
        return


def _crop(run_dir: Path, directory: str, image: str) -> np.ndarray | None:
    path = (run_dir / directory / f"{image}.png").resolve()
    if not path.is_relative_to(run_dir.resolve()) or not path.is_file():
        return None
    from study.data.images import read_image, read_size

    if math.prod(read_size(path)) > _MOST_PIXELS:
        raise ValueError(f"{path} is no crop: it has more than {_MOST_PIXELS:,} pixels; delete it")
    return read_image(path).astype(np.float32) / 255


def draw_loss_maps(maps: tuple[LossMaps, ...]) -> Figure:
    """Draw a row per point: HR, the point's crop, and the two maps on one scale."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(8.6, 2.35 * len(maps) + 0.2), layout="constrained")
        brightest = max(float(np.percentile(each.pixel, BRIGHTEST)) for each in maps)
        for axes_row, each in zip(figure.subplots(len(maps), 4, squeeze=False), maps, strict=True):
            panels = (
                ("HR", each.hr),
                (each.title, each.sr),
                (f"pixel loss, mean {each.pixel.mean():.4f}", each.pixel),
                (f"AESOP loss, mean {each.aesop.mean():.4f}", each.aesop),
            )
            for axes, (title, picture) in zip(axes_row, panels, strict=True):
                _panel(axes, title, picture, brightest)
    return figure


def _panel(axes: Axes, title: str, picture: np.ndarray, brightest: float) -> None:
    axes.imshow(picture, interpolation="nearest", cmap="inferno", vmin=0, vmax=brightest)
    axes.set_title(title, fontsize=7.5, wrap=True)
    axes.set_axis_off()
