"""Load the training and the validation set: built-in photographs, folders of images, or stores."""

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from study.config import MADE, DataConfig, LargestPatch
from study.data.bicubic import check_scale
from study.data.errors import ImageError, raise_problems, some
from study.data.folder_notes import folder_notes, image_notes
from study.data.image_set import CROP_MULTIPLE, ImageSet, LoadedImages, LowQuality
from study.data.images import read_image, read_size
from study.data.layouts import Layout, LayoutError, find_layout, unused_lq_folders
from study.data.paired_files import find_items, size_problems
from study.data.remote import local_copy

PHOTOGRAPHS = "photographs"
"""The name of the built-in source."""

MINIMUM_VAL_SIDE = 48
"""The smallest side of a validation image in pixels: less leaves too little after the metrics' border crop."""

_MAX_HELD_OUT = 20

_MEMORY_SHARE = 0.5
"""Of the machine's memory, for the decoded images of one folder."""

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


def folder(layout: Layout, *, scale: int, multiple: int = 1, least: int = 1, remedy: str = "") -> ImageSet:
    """Read the images of a layout, named by their keys (`layouts.strip_key`), in the order of the keys.

    Args:
        layout: the folders.
        scale: of its low-quality images, if it has any.
        multiple: low-quality images may be those of HR images that were cropped to multiples of this.
        least: the smallest side of an HR image, in pixels.
        remedy: what to do about low-quality images that do not fit.

    Returns:
        The set; its notes are `folder_notes`.

    Raises:
        SourceError: the problems of all files, or the images would not fit into memory.
    """
    try:
        items, problems = find_items(layout, scale=scale, multiple=multiple, least=least)
        notes = tuple(folder_notes([*layout.hr, *layout.lq]))
    except ImageError as error:
        raise SourceError(str(error)) from error
    _require_memory(layout, [path for item in items for path in (item.hr, item.lq) if path is not None])
    images: dict[str, np.ndarray] = {}
    lq: list[np.ndarray] = []
    for item in items:
        try:
            images[item.key] = read_image(item.hr)
            if item.lq is not None:
                lq.append(read_image(item.lq))
                sizes = images[item.key].shape[:2], lq[-1].shape[:2]
                problems += size_problems(item, *sizes, scale, multiple)  # headers may be wrong
        except ImageError as error:
            problems.append(str(error))
    places = ", ".join(map(str, layout.hr))
    heading = f"{places}: these images cannot be used"
    if layout.lq:
        heading += f" with the low-quality ones of {', '.join(map(str, layout.lq))}{remedy}"
    raise_problems(SourceError, heading, problems and [*problems, *notes])
    loaded = replace(ImageSet.loaded(layout.name, list(images), list(images.values())), notes=notes)
    return replace(loaded, lq=LowQuality(scale, LoadedImages(lq), exact=False)) if layout.lq else loaded


def _require_memory(layout: Layout, files: Sequence[Path]) -> None:
    """Raise SourceError if decoded images would take more than the machine's memory, by their headers."""
    needed = 3 * sum(math.prod(read_size(file)) for file in files)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > _MEMORY_SHARE * memory:
        raise SourceError(
            f"{', '.join(map(str, layout.hr))}: {len(files)} images of {needed / 2**30:.1f} GiB once decoded, but this "
            f"machine has {memory / 2**30:.1f} GiB of memory, and they may take half; pack them into a store, which is "
            "read from the disk: study/prepare.py pack"
        )


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


def load_source(data: DataConfig, patch: LargestPatch) -> tuple[ImageSet, ImageSet]:
    """Return (training set, validation set); each source is "photographs", a folder, or a store: a file or a URI.

    Low-quality images beside a folder's HR images, or named, belong to the set; its notes say so. Without a validation
    source, the built-in photographs use their held-out part, and a folder or store holds out one
    tenth of its images (at least 1, at most 20), those with the lowest content hashes, independent of names and order.
    Validation images are cropped to multiples of 12 (of 12 and the scale, if 12 is no multiple of it). A store on
    another machine is copied to this one first, once (`remote.local_copy`).

    Training images smaller than `patch`, and validation images below MINIMUM_VAL_SIDE, are left out; the set's notes
    name them. Raises SourceError for images that cannot be read or paired, if none is left, for a folder with too few
    images to split, and if the same picture is in both sets; ValueError for a scale outside 1..8.
    """
    check_scale(data.scale)
    multiple = math.lcm(CROP_MULTIPLE, data.scale)
    minimum_val_side = math.ceil(MINIMUM_VAL_SIDE / multiple) * multiple
    training = _named(data.train, data.train_lq, "--lq", data)
    how = "in the search space, which draws it" if patch.is_drawn else f"by --set {patch.field}=N"
    remedy = f"lower it {how}, or add larger images"
    training = _large(training, max(patch.px, data.scale), f"the largest patch, {patch.px} px ({patch.field})", remedy)
    if data.val is None and data.val_lq not in (None, MADE):
        raise SourceError(f"data.val_lq names {data.val_lq}, but there is no data.val; name it with --val")
    if data.val is None and data.train != PHOTOGRAPHS:
        training, held_out = _split(training, minimum_val_side)
    elif data.val is None or data.val == PHOTOGRAPHS:
        held_out = _held_out_photographs()
    else:
        held_out = _named(data.val, data.val_lq, "--val-lq", data)
        held_out = _large(
            held_out, minimum_val_side, f"{minimum_val_side} px, the least in validation", "add larger images"
        )
    held_out = held_out.cropped(multiple)
    _require_disjoint(training, held_out)
    return training, held_out


def _named(source: str, lq: str | None, option: str, data: DataConfig) -> ImageSet:
    """Return the images of a source; of the built-in photographs, the training part."""
    path = None if source == PHOTOGRAPHS else local_copy(source)
    if path is not None and not path.is_file():
        return _folder_with_lq(path, lq, option, data)
    if lq not in (None, MADE):
        raise SourceError(f"{option} names {lq}, but {source} is no folder of HR images; leave {option} out")
    if path is None:
        return _training_photographs()
    images = stored(path, scale=data.scale)
    if lq == MADE:
        return replace(images, lq=None)
    if images.lq is None or images.lq.exact:
        return images
    kind = images.lq.made_by.get("kind", "given")
    used = option == "--val-lq" or not data.is_degraded_anew
    return replace(images, notes=(_lq_note(f"the stored ones ({kind})", used, path, option, data),))


def _folder_with_lq(path: Path, lq: str | None, option: str, data: DataConfig) -> ImageSet:
    """Return the images of a folder, with the low-quality ones that are named, or that lie beside it."""
    named = [] if lq in (None, MADE) else [Path(str(lq))]
    never = lq == MADE or (data.task != "sr" and not named)
    try:
        layout = find_layout([path], scale=data.scale, lq=None if never else named)
    except LayoutError as error:
        raise SourceError(str(error)) from error
    used = bool(named) or data.degradation == "bicubic"
    images = folder(
        layout if used else replace(layout, lq=()),
        scale=data.scale,
        multiple=1 if option == "--lq" else math.lcm(CROP_MULTIPLE, data.scale),  # validation images are cropped
        remedy=f"; to have these made of the HR images, give {option} {MADE}",
    )
    found = f"those in {', '.join(map(str, layout.lq))}"
    notes = [_lq_note(found, used, path, option, data)] if layout.lq else []
    others = [] if layout.lq or never else [name for hr in layout.hr for name in unused_lq_folders(hr)]
    if others:
        rule = f"no low-quality images of scale {data.scale} were recognised there; {option} DIR names them"
        notes = [f"{path}: {some(others)} beside the HR images: {rule}, {option} {MADE} makes them without this note."]
    return replace(images, name=path.resolve().name.removesuffix(".lmdb"), notes=(*images.notes, *notes))


def _lq_note(which: str, used: bool, source: Path, option: str, data: DataConfig) -> str:
    """Return the sentence about low-quality images that come with a source."""
    if used:
        return f"{source}: the low-quality images are {which}; {option} {MADE} makes them of the HR images instead."
    return f"{source}: {data.degraded_by} makes the low-quality images of training; {which} are not used."


def _large(images: ImageSet, minimum_side: int, least: str, remedy: str) -> ImageSet:
    """Leave out images with a side below the minimum, with a note; `least` describes it.

    Raises:
        SourceError: no image is left.
    """
    sides = [min(shape) for shape in images.images.shapes]
    kept = [index for index, side in enumerate(sides) if side >= minimum_side]
    if len(kept) == len(images):
        return images
    small = [
        f"{name} ({width} x {height} px)"
        for name, (height, width) in zip(images.names, images.images.shapes, strict=True)
        if min(height, width) < minimum_side
    ]
    if not kept:
        raise SourceError(f"{images.name}: all images are smaller than {least}: {some(small)}; {remedy}")
    note = f"{images.name}: {len(small)} of {len(images)} images are left out, smaller than {least}: {some(small)}."
    return replace(images.subset(kept), notes=(*images.notes, note))


def _training_photographs() -> ImageSet:
    return _built_in("photographs-training", _TRAINING_PHOTOGRAPHS)


def _held_out_photographs() -> ImageSet:
    return _built_in("photographs-held-out", _HELD_OUT_PHOTOGRAPHS)


def _built_in(name: str, files: dict[tuple[str, str], str]) -> ImageSet:
    paths = [_verified(package, place, sha256) for (package, place), sha256 in files.items()]
    images = ImageSet.loaded(name, [path.stem for path in paths], [read_image(path) for path in paths])
    return replace(images, notes=tuple(image_notes(name, paths)))


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
        remedy = "Add images, or name a validation source with --val"
        said = " ".join(
            (f"{images.name}: holding out validation images {rule}, but it has {len(images)}.", *images.notes)
        )
        raise SourceError(f"{said} {remedy}")
    count = min(_MAX_HELD_OUT, max(1, len(images) // 10))
    chosen = set(sorted(large, key=lambda index: images.images.digests[index])[:count])
    kept = [index for index in range(len(images)) if index not in chosen]
    held_out = replace(images.subset(sorted(chosen), "held-out"), notes=())  # the training part has them
    return images.subset(kept, "training"), held_out


def _require_disjoint(training: ImageSet, held_out: ImageSet) -> None:
    """Raise SourceError if both sets have the same crop of a picture to CROP_MULTIPLE."""
    trained_on = dict(zip(training.images.crop_digests, training.names, strict=True))
    problems = [
        f"{name}: the same picture as {trained_on[digest]} of {training.name}; remove one of the two"
        for name, digest in zip(held_out.names, held_out.images.crop_digests, strict=True)
        if digest in trained_on
    ]
    raise_problems(SourceError, f"{held_out.name}: validation images must not be trained on", problems)
