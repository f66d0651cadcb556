"""Load the training and the validation set: built-in photographs, folders of images, or stores."""

import hashlib
import math
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from study.data.bicubic import check_scale
from study.data.image_set import CROP_MULTIPLE, ImageSet, crop_to_multiple
from study.data.images import ImageError, list_images, raise_problems, read_image
from study.data.layouts import strip_key
from study.data.remote import local_copy

PHOTOGRAPHS = "photographs"
"""The name of the built-in source."""

MINIMUM_VAL_SIDE = 48
"""The smallest side of a validation image in pixels: less leaves too little after the metrics' border crop."""

_MAX_HELD_OUT = 20

# Each photograph's place in its package and the sha256 of its file (scikit-image 0.26, scikit-learn 1.9).
_TRAINING_PHOTOGRAPHS = {
    ("sklearn", "datasets/images/china.jpg"): "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    ("skimage", "data/motorcycle_left.png"): "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    ("skimage", "data/motorcycle_right.png"): "5fc913ae870e42a4b662314bc904d1786bcad8e2f0b9b67dba5a229406357797",
    ("skimage", "data/rocket.jpg"): "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    ("skimage", "data/ihc.png"): "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
    ("skimage", "data/retina.jpg"): "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
    ("skimage", "data/hubble_deep_field.jpg"): "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
}
_HELD_OUT_PHOTOGRAPHS = {
    ("skimage", "data/astronaut.png"): "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    ("skimage", "data/chelsea.png"): "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    ("skimage", "data/coffee.png"): "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    ("sklearn", "datasets/images/flower.jpg"): "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
}
_DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


class SourceError(ValueError):
    """A source of images that cannot be used; the message lists every problem found and the remedies."""


def photographs() -> tuple[ImageSet, ImageSet]:
    """Return the real colour photographs inside scikit-image and scikit-learn: (7 for training, 4 held out).

    The split is fixed. The packages are located, not imported. Raises SourceError if a package or a file is
    missing, or if a file has changed.
    """
    return _training_photographs(), _held_out_photographs()


def folder(path: Path | str, *, minimum_side: int, multiple: int = 1, remedy: str = "remove the image") -> ImageSet:
    """Read all images directly inside a folder, named by their keys (`layouts.strip_key`), in the order of the keys.

    Each is cropped, from the top-left, to multiples of `multiple` px, and must then have at least
    `minimum_side` px on both sides; `remedy` ends the message about a smaller one. Raises SourceError with
    the problems of all files.
    """
    try:
        paths = list_images(path)
    except ImageError as error:
        raise SourceError(str(error)) from error
    keyed, problems = _by_key(paths)
    minimum_side = math.ceil(minimum_side / multiple) * multiple  # of the uncropped image
    images: dict[str, np.ndarray] = {}
    for key, file in sorted(keyed.items()):
        try:
            image = read_image(file)
        except ImageError as error:
            problems.append(f"{file.name}: {error.problem}")
            continue
        problems += _too_small(file.name, image.shape[:2], minimum_side, remedy)
        images[key] = crop_to_multiple(image, multiple)
    raise_problems(SourceError, f"{path}: these images cannot be used", problems)
    return ImageSet.loaded(Path(path).resolve().name, list(images), list(images.values()))


def stored(path: Path, *, scale: int) -> ImageSet:
    """Open a store that `study/prepare.py pack` made, without reading pixels.

    Raises SourceError for a damaged store, and for one whose low-quality images have another scale, unless they are
    exact bicubic ones, which can be made anew.
    """
    from study.data.store import open_store  # late: folders and photographs need no pyarrow
    from study.data.store_format import StoreError

    try:
        images = open_store(path).image_set()
    except StoreError as error:
        raise SourceError(str(error)) from error
    lq = images.lq
    if lq is not None and lq.scale != scale and not lq.exact:
        raise SourceError(
            f"{path}: its low-quality images are of scale {lq.scale}, but data.scale is {scale}; "
            f"set data.scale={lq.scale}, or pack the images again for scale {scale}"
        )
    return images


def load_source(train: str, val: str | None, *, scale: int, minimum_patch: int) -> tuple[ImageSet, ImageSet]:
    """Return (training set, validation set); each source is "photographs", a folder, or a store: a file or a URI.

    Without a validation source, the built-in photographs use their held-out part, and a folder or store holds out one
    tenth of its images (at least 1, at most 20), those with the lowest content hashes, independent of names and order.
    Validation images are cropped to multiples of 12 (of 12 and the scale, if 12 is no multiple of it). A store on
    another machine is copied to this one first, once (`remote.local_copy`).

    `minimum_patch` is the largest high-quality patch, in px, that any stage will cut from the training
    images. Raises SourceError for images that cannot be read or are too small, for a folder with too few images to
    split, and if the same picture is in both sets; ValueError for a scale outside 1..8.
    """
    check_scale(scale)
    multiple = math.lcm(CROP_MULTIPLE, scale)
    minimum_val_side = math.ceil(MINIMUM_VAL_SIDE / multiple) * multiple
    patch_remedy = f"cut patches smaller than {minimum_patch} px (--set) or remove the image"
    training = _named(train, scale, minimum_patch, patch_remedy)

    if val is None and train != PHOTOGRAPHS:
        training, held_out = _split(training, minimum_val_side)
    elif val is None or val == PHOTOGRAPHS:
        held_out = _held_out_photographs()
    else:
        held_out = _named(val, scale, minimum_val_side, "remove the image")
    held_out = held_out.cropped(multiple)
    _require_disjoint(training, held_out)
    return training, held_out


def _named(source: str, scale: int, minimum_side: int, remedy: str) -> ImageSet:
    """Return the images of a source; of the built-in photographs, the training part."""
    if source != PHOTOGRAPHS:
        path = local_copy(source)
        if not path.is_file():
            return folder(path, minimum_side=minimum_side, remedy=remedy)
    images = _training_photographs() if source == PHOTOGRAPHS else stored(path, scale=scale)
    _require_side(images, minimum_side, remedy)
    return images


def _training_photographs() -> ImageSet:
    return _built_in("photographs-training", _TRAINING_PHOTOGRAPHS)


def _held_out_photographs() -> ImageSet:
    return _built_in("photographs-held-out", _HELD_OUT_PHOTOGRAPHS)


def _built_in(name: str, files: dict[tuple[str, str], str]) -> ImageSet:
    paths = [_verified(package, place, sha256) for (package, place), sha256 in files.items()]
    return ImageSet.loaded(name, [path.stem for path in paths], [read_image(path) for path in paths])


def _verified(package: str, place: str, sha256: str) -> Path:
    """Return the path of a file inside an installed package; SourceError if its content is not the expected one.

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


def _split(images: ImageSet, minimum_val_side: int) -> tuple[ImageSet, ImageSet]:
    """Hold out a tenth of a set for validation: of the large enough images, those with the lowest content hashes."""
    large = [index for index, shape in enumerate(images.images.shapes) if min(shape) >= minimum_val_side]
    if len(images) < 2 or not large:
        rule = f"needs at least two, one of them with {minimum_val_side} px a side"
        remedy = "add images, or name a validation source"
        raise SourceError(f"{images.name}: holding out validation images {rule}, but it has {len(images)}; {remedy}")
    count = min(_MAX_HELD_OUT, max(1, len(images) // 10))
    chosen = set(sorted(large, key=lambda index: images.images.digests[index])[:count])
    kept = [index for index in range(len(images)) if index not in chosen]
    return images.subset("training", kept), images.subset("held-out", sorted(chosen))


def _require_side(images: ImageSet, minimum_side: int, remedy: str) -> None:
    named = zip(images.names, images.images.shapes, strict=True)
    problems = [problem for name, shape in named for problem in _too_small(name, shape, minimum_side, remedy)]
    raise_problems(SourceError, f"{images.name}: these images cannot be used", problems)


def _require_disjoint(training: ImageSet, held_out: ImageSet) -> None:
    """Raise SourceError if both sets have the same crop of a picture to CROP_MULTIPLE."""
    trained_on = dict(zip(training.images.crop_digests, training.names, strict=True))
    problems = [
        f"{name}: the same picture as {trained_on[digest]} of {training.name}; remove one of the two"
        for name, digest in zip(held_out.names, held_out.images.crop_digests, strict=True)
        if digest in trained_on
    ]
    raise_problems(SourceError, f"{held_out.name}: validation images must not be trained on", problems)


def _by_key(paths: Iterable[Path]) -> tuple[dict[str, Path], list[str]]:
    """Return files by their keys, and the problems of files that share a key."""
    keyed: dict[str, Path] = {}
    problems = []
    for path in paths:
        other = keyed.setdefault(strip_key(path.stem), path)
        if other != path:
            problems.append(f"{path.name}: the same name as {other.name} but for the suffix; rename or remove one")
    return keyed, problems


def _too_small(name: str, shape: tuple[int, ...], minimum_side: int, remedy: str) -> list[str]:
    """Return the problem of an image with a side below the minimum, or an empty list."""
    height, width = shape
    if min(height, width) >= minimum_side:
        return []
    return [f"{name}: {width} x {height} px, but both sides must have at least {minimum_side} px; {remedy}"]
