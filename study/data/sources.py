"""Where photographs come from: those that ship with the dependencies, or any folder of images."""

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from study.data.bicubic import check_scale
from study.data.images import ImageError, fingerprint_images, list_images, read_image

PHOTOGRAPHS = "photographs"
"""The name of the built-in source, where a folder could be named."""

TEST_MULTIPLE = 12
"""Test images are cropped to multiples of this (METHODS 8), so that scales 2, 3 and 4 see the same pixels."""

MINIMUM_TEST_SIDE = 48
"""Pixels a side that a test image must keep: less leaves next to nothing after the metrics' border crop."""

_MAX_HELD_OUT = 20
_MAX_REPORTED = 20

# Each photograph's place in its package and the sha256 of its file (scikit-image 0.26, scikit-learn 1.9).
_TRAINING_PHOTOGRAPHS = {
    (
        "sklearn",
        "datasets/images/china.jpg",
    ): "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    (
        "skimage",
        "data/motorcycle_left.png",
    ): "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    (
        "skimage",
        "data/motorcycle_right.png",
    ): "5fc913ae870e42a4b662314bc904d1786bcad8e2f0b9b67dba5a229406357797",
    ("skimage", "data/rocket.jpg"): "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    ("skimage", "data/ihc.png"): "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
    ("skimage", "data/retina.jpg"): "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
    (
        "skimage",
        "data/hubble_deep_field.jpg",
    ): "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
}
_HELD_OUT_PHOTOGRAPHS = {
    ("skimage", "data/astronaut.png"): "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    ("skimage", "data/chelsea.png"): "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    ("skimage", "data/coffee.png"): "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    (
        "sklearn",
        "datasets/images/flower.jpg",
    ): "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
}
_DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


class SourceError(ValueError):
    """A source of images that cannot be used; the message lists every problem found and the remedies."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Photographs with unique names: each image is (H, W, 3) uint8 RGB."""

    name: str
    names: tuple[str, ...]
    images: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 (hex) over the names, sizes and pixels of the images, in their order."""
        return fingerprint_images(self.names, self.images)


def photographs() -> tuple[ImageSet, ImageSet]:
    """Return the real colour photographs inside scikit-image and scikit-learn: (8 for training, 3 held out).

    The split is fixed. The packages are located, not imported. Raises SourceError if a package or a file is
    missing, or if a file is not the one that the study was defined on.
    """
    return _training_photographs(), _held_out_photographs()


def folder(path: Path | str, *, minimum_side: int, multiple: int = 1, remedy: str = "remove the image") -> ImageSet:
    """Read all images directly inside a folder, named by their file stems, in the order of file names.

    Each is cropped, from the top-left, to multiples of `multiple` px, and must then have at least
    `minimum_side` px on both sides; `remedy` ends the message about one that has not. Raises SourceError with
    the problems of all files at once.
    """
    try:
        paths = list_images(path)
    except ImageError as error:
        raise SourceError(str(error)) from error
    problems = _duplicate_stems(paths)
    minimum_side = math.ceil(minimum_side / multiple) * multiple  # said of, and checked on, the uncropped image
    images: dict[str, np.ndarray] = {}
    for file in paths:
        try:
            image = read_image(file)
        except ImageError as error:
            problems.append(f"{file.name}: {error.problem}")
            continue
        problems += _too_small(file.name, image, minimum_side, remedy)
        images[file.stem] = crop_to_multiple(image, multiple)
    _refuse(f"{path}: these images cannot be used", problems)
    return ImageSet(Path(path).resolve().name, tuple(images), tuple(images.values()))


def load_source(train: str, test: str | None, *, scale: int, minimum_patch: int) -> tuple[ImageSet, ImageSet]:
    """Return (training images, test images); each source is "photographs" or a folder.

    Without a test source, the photographs are judged on their held-out part, and a folder holds out one tenth
    of its images (at least 1, at most 20), those of the lowest content hash, so that neither names nor order
    matter. Test images are cropped to multiples of 12 (METHODS 8; of 12 and the scale, where 12 is no
    multiple of it).

    `minimum_patch` is the largest high-quality patch, in px, that any stage will cut from the training
    images. Raises SourceError for images that cannot be read or are too small, for a folder too poor to
    split, and if the same picture is in both parts; ValueError for a scale outside 1..8.
    """
    check_scale(scale)
    multiple = math.lcm(TEST_MULTIPLE, scale)
    minimum_test_side = math.ceil(MINIMUM_TEST_SIDE / multiple) * multiple
    patch_remedy = f"cut patches smaller than {minimum_patch} px (--set) or remove the image"
    if train == PHOTOGRAPHS:
        training = _training_photographs()
        _require_side(training, minimum_patch, patch_remedy)
    else:
        training = folder(train, minimum_side=minimum_patch, remedy=patch_remedy)

    if test is None and train != PHOTOGRAPHS:
        training, held_out = _split(training, minimum_test_side)
    elif test is None or test == PHOTOGRAPHS:
        held_out = _held_out_photographs()
    else:
        held_out = folder(test, minimum_side=minimum_test_side, multiple=multiple)
    return _disjoint(training, _cropped(held_out, multiple), multiple)


def crop_to_multiple(image: np.ndarray, multiple: int) -> np.ndarray:
    """View the top-left part of an (H, W, C) image whose sides are the largest multiples of `multiple`."""
    height, width = image.shape[:2]
    return image[: height // multiple * multiple, : width // multiple * multiple]


def _training_photographs() -> ImageSet:
    return _built_in("photographs-training", _TRAINING_PHOTOGRAPHS)


def _held_out_photographs() -> ImageSet:
    return _built_in("photographs-held-out", _HELD_OUT_PHOTOGRAPHS)


def _built_in(name: str, files: dict[tuple[str, str], str]) -> ImageSet:
    paths = [_verified(package, place, sha256) for (package, place), sha256 in files.items()]
    return ImageSet(name, tuple(path.stem for path in paths), tuple(read_image(path) for path in paths))


def _verified(package: str, place: str, sha256: str) -> Path:
    """Locate a file inside an installed package and make sure that it is the one meant.

    File bytes are hashed, not pixels: decoders of JPEG may differ by a level.
    """
    distribution = _DISTRIBUTIONS[package]
    remedy = f"install the {distribution} version of the lock file, or name a folder of images instead"
    spec = find_spec(package)  # of a top-level package: does not run it
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(f"the photographs need the package {distribution}, which is not installed: {remedy}")
    path = Path(spec.submodule_search_locations[0]) / place
    if not path.is_file():
        raise SourceError(f"the photograph {place} is missing from the installed {distribution}: {remedy}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise SourceError(
            f"the photograph {place} of the installed {distribution} has changed, "
            f"so that results could not be compared: {remedy}"
        )
    return path


def _split(images: ImageSet, minimum_test_side: int) -> tuple[ImageSet, ImageSet]:
    """Hold out a tenth of a set, by content alone, of the images that are large enough to be tested on."""
    large = [index for index in range(len(images)) if min(images.images[index].shape[:2]) >= minimum_test_side]
    if len(images) < 2 or not large:
        rule = f"needs at least two, one of them with {minimum_test_side} px a side"
        remedy = "add images, or name a test source of its own"
        raise SourceError(f"{images.name}: holding out test images {rule}, but it has {len(images)}; {remedy}")
    count = min(_MAX_HELD_OUT, max(1, len(images) // 10))
    ranked = sorted(large, key=lambda index: _digest(images.images[index]))
    chosen = set(ranked[:count])
    training = _subset(images, "training", lambda index: index not in chosen)
    return training, _subset(images, "held-out", chosen.__contains__)


def _subset(images: ImageSet, part: str, keep: Callable[[int], bool]) -> ImageSet:
    kept = [index for index in range(len(images)) if keep(index)]
    names = tuple(images.names[index] for index in kept)
    return ImageSet(f"{images.name}-{part}", names, tuple(images.images[index] for index in kept))


def _cropped(images: ImageSet, multiple: int) -> ImageSet:
    return ImageSet(images.name, images.names, tuple(crop_to_multiple(image, multiple) for image in images.images))


def _require_side(images: ImageSet, minimum_side: int, remedy: str) -> None:
    named = zip(images.names, images.images, strict=True)
    problems = [problem for name, image in named for problem in _too_small(name, image, minimum_side, remedy)]
    _refuse(f"{images.name}: these images cannot be used", problems)


def _disjoint(training: ImageSet, held_out: ImageSet, multiple: int) -> tuple[ImageSet, ImageSet]:
    """Return both sets, or raise SourceError if a picture is in both, compared as test images are cropped."""
    trained_on = {
        _digest(crop_to_multiple(image, multiple)): name
        for name, image in zip(training.names, training.images, strict=True)
    }
    digests = [_digest(image) for image in held_out.images]
    problems = [
        f"{name}: the same picture as {trained_on[digest]} of {training.name}; remove one of the two"
        for name, digest in zip(held_out.names, digests, strict=True)
        if digest in trained_on
    ]
    _refuse(f"{held_out.name}: test images must not be trained on", problems)
    return training, held_out


def _digest(image: np.ndarray) -> str:
    return fingerprint_images([""], [image])


def _duplicate_stems(paths: Iterable[Path]) -> list[str]:
    first: dict[str, str] = {}
    problems = []
    for path in paths:
        other = first.setdefault(path.stem, path.name)
        if other != path.name:
            problems.append(f"{path.name}: the same name as {other} but for the suffix; rename or remove one")
    return problems


def _too_small(name: str, image: np.ndarray, minimum_side: int, remedy: str) -> list[str]:
    """Return the problem of an image with a side below the minimum; no problem, an empty list."""
    height, width = image.shape[:2]
    if min(height, width) >= minimum_side:
        return []
    return [f"{name}: {width} x {height} px, but both sides must have at least {minimum_side} px; {remedy}"]


def _refuse(heading: str, problems: list[str]) -> None:
    """Raise SourceError with one line a problem, if there is any."""
    if not problems:
        return
    lines = [f"  {problem}" for problem in problems[:_MAX_REPORTED]]
    if len(problems) > _MAX_REPORTED:
        lines.append(f"  ... and {len(problems) - _MAX_REPORTED} more")
    raise SourceError("\n".join([f"{heading}:", *lines]))
