"""Evaluate every system on every image of every set."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from study.data import to_float, to_uint8
from study.data.errors import ImageError
from study.data.folder_notes import image_notes
from study.data.images import read_image, read_size
from study.data.pairs import image_to_tensor
from study.evaluation.sets import TestSet, match_images
from study.evaluation.systems import System
from study.metrics.evaluator import Evaluator
from study.metrics.parallel import evaluate_each, group_images

Files = Mapping[tuple[str, str], Mapping[str, Path]]  # by system and set, then by image
_ROWS = 256  # of an image that are converted at a time: in float64, a whole 8K image takes gigabytes

SaveImage = Callable[[str, str, str, np.ndarray], None]  # called with system, set, image, and (H, W, 3) uint8


@dataclass(frozen=True)
class Score:
    """One system's metrics on one image."""

    model: str
    set: str
    image: str
    values: dict[str, float]


@dataclass(frozen=True)
class Scores:
    """All scores.

    Attributes:
        rows: of images with a valid output.
        problems: of the others; they would make a set's mean incomparable.
    """

    rows: list[Score]
    problems: list[str]


def find_images(systems: Sequence[System], sets: Sequence[TestSet]) -> tuple[Files, list[str], list[str]]:
    """Find and check the files of systems that are folders of images, before any evaluation.

    Returns:
        Files by system and set, then by image name; the problems, of HR files as well; and notes about other files.
    """
    files: dict[tuple[str, str], Mapping[str, Path]] = {}
    problems: list[str] = []
    notes: list[str] = []
    for system in systems:
        for test in sets:
            if system.images is None:
                continue
            found, missing, others = match_images(system.images, test.name, test.pairs.names, len(sets) > 1)
            files[system.name, test.name] = found
            problems += missing
            notes += others
            notes += image_notes(system.images, list(found.values()))
            for index, name in enumerate(test.pairs.names):
                if name in found:
                    problems += _problems_of(found[name], test, index)
    return files, problems, notes


def measure(
    systems: Sequence[System],
    sets: Sequence[TestSet],
    evaluator: Evaluator,
    files: Files,
    *,
    advance: Callable[[float], None],
    save: SaveImage | None = None,
) -> Scores:
    """Evaluate all systems image by image, so that an HR image is prepared once for all of them.

    On a CPU small images are evaluated concurrently; networks use all cores for one image.

    Args:
        systems, sets: the table's rows and columns.
        evaluator: the metrics.
        files: of systems that are folders of images.
        advance: called with the number of finished images; an image that is upscaled but not evaluated counts half.
        save: called with each SR image.
    """
    scores, done = Scores([], []), 0.0
    for test, group, batch in _portions(systems, sets, evaluator.device):
        images = []
        for index in group:
            images.append(_upscale(batch, test, index, evaluator.device, files))
            advance(done := done + len(batch) / 2)
        sizes = [image.hr[0, 0].numel() for image in images]
        for image, rows in zip(images, evaluate_each(partial(_evaluate, evaluator), images, sizes), strict=True):
            scores.rows.extend(rows)
            scores.problems.extend(image.problems)
            if save is not None:
                for system, sr in image.outputs.items():
                    save(system, image.set, image.name, _pixels(sr))
            advance(done := done + len(batch) / 2)
        if batch[-1] is systems[-1]:
            for image in images:
                evaluator.forget(image.name)
    return scores


def _portions(
    systems: Sequence[System], sets: Sequence[TestSet], device: torch.device
) -> Iterator[tuple[TestSet, range, Sequence[System]]]:
    """Yield images of a set with the systems whose outputs for them fit into memory together."""
    for test in sets:
        pixels = [height * width for height, width in test.pairs.hr.shapes]
        for group in group_images(pixels, device):
            for batch in [systems] if len(group) > 1 else [[system] for system in systems]:
                yield test, group, batch


@dataclass(frozen=True)
class _Upscaled:
    """An image of a set with the systems' valid outputs, and the problems of the others."""

    set: str
    name: str
    hr: Tensor
    shrunk_by: int | None
    outputs: dict[str, Tensor]
    problems: list[str]


def _upscale(systems: Sequence[System], test: TestSet, index: int, device: torch.device, files: Files) -> _Upscaled:
    name = test.pairs.names[index]
    lq, hr = (image.to(device) for image in test.pairs.tensors(index))
    outputs, problems = {}, []
    for system in systems:
        sr = _output(system, lq, files.get((system.name, test.name), {}).get(name), hr)
        if not all(torch.isfinite(rows).all() for rows in sr.split(_ROWS, dim=2)):
            problems.append(f"{system.name} on {test.name}/{name}: the output is not finite")
        elif sr.shape != hr.shape:
            problems.append(f"{system.name} on {test.name}/{name}: the output is {_size(sr)}, HR {_size(hr)}")
        else:
            outputs[system.name] = sr
    return _Upscaled(test.name, name, hr, test.pairs.scale if test.pairs.scale > 1 else None, outputs, problems)


def _evaluate(evaluator: Evaluator, image: _Upscaled) -> list[Score]:
    return [
        Score(system, image.set, image.name, evaluator(sr, image.hr, shrunk_by=image.shrunk_by, key=image.name))
        for system, sr in image.outputs.items()
    ]


def _output(system: System, lq: Tensor, file: Path | None, hr: Tensor) -> Tensor:
    if system.upscale is not None:
        return system.upscale(lq)
    assert file is not None
    height, width = hr.shape[-2:]
    return to_float(image_to_tensor(read_image(file)[:height, :width])).to(hr.device)


def _problems_of(path: Path, test: TestSet, index: int) -> list[str]:
    """Compare an SR image's size and colours with its HR image."""
    try:
        height, width = read_size(path)
        hr_height, hr_width = test.pairs.hr.shapes[index]
        whole_height, whole_width = test.uncropped[index]
        scale = test.pairs.scale
        sizes = {
            (hr_height, hr_width),
            (whole_height, whole_width),
            (whole_height // scale * scale, whole_width // scale * scale),
        }
        if (height, width) not in sizes:
            return [
                f"{path}: is {width} x {height} px, but HR {test.name}/{test.pairs.names[index]} is {whole_width} x "
                f"{whole_height} px, {hr_width} x {hr_height} once cropped; give an image of one of these sizes"
            ]
        if _is_grey(read_image(path)) and not _is_grey(test.pairs.hr[index]):
            return [f"{path}: is grey, but its HR image has colour; give the RGB image"]
        return []
    except ImageError as error:
        return [str(error)]


def _is_grey(image: np.ndarray) -> bool:
    return bool((image == image[..., :1]).all())


def _pixels(sr: Tensor) -> np.ndarray:
    levels = torch.cat([to_uint8(rows.clamp(0, 1)) for rows in sr.split(_ROWS, dim=2)], dim=2)
    return levels[0].permute(1, 2, 0).cpu().numpy()


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]} x {image.shape[-2]} px"
