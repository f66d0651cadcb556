"""Find and read test sets, by name or by folder, with given or generated low-quality images."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study.config import MADE
from study.data import Pairs, make_pairs
from study.data.errors import ImageError, some
from study.data.image_files import list_images
from study.data.image_set import CROP_MULTIPLE
from study.data.layouts import KNOWN_SETS, Layout, LayoutError, find_layout, strip_key
from study.data.sources import SourceError, folder, stored

SMALLEST_SIDE = 36
"""Smallest side of a cropped HR image in pixels: enough for a border and SSIM's window."""


BY_BICUBIC = "made by MATLAB's bicubic"
"""The origin of low-quality images that are not given."""


class SetError(ValueError):
    """A test set that cannot be used; the message lists every problem."""


@dataclass(frozen=True)
class SetPlace:
    """The location of a set.

    Attributes:
        name: of its column.
        hr: folder of HR images, or a store.
        lq: folder of low-quality images, if they are given or found beside HR.
    """

    name: str
    hr: Path
    lq: Path | None


@dataclass(frozen=True)
class TestSet:
    """A set with its images.

    Attributes:
        name: of its column.
        pairs: HR, cropped to multiples of 12, with its low-quality versions.
        uncropped: height and width of each HR image before the crop.
        files: the HR files by image name; empty for a store.
        lq: where the low-quality images come from: BY_BICUBIC, or that they are given, and in which folder or store.
        notes: of the images (`ImageSet.notes`).
    """

    name: str
    pairs: Pairs
    uncropped: tuple[tuple[int, int], ...]
    files: dict[str, Path]
    lq: str
    notes: tuple[str, ...] = ()

    __test__ = False  # not a test class of pytest


def find_sets(hr: Sequence[Path], lq: Sequence[Path], names: Sequence[str], scale: int) -> list[SetPlace]:
    """Find the sets of a command line.

    Args:
        hr: folders of HR images, each a set; or one folder of sets by name; or stores.
        lq: folders of low-quality images, or `made`, one for each of `hr`; empty to find them beside HR.
        names: of the sets: for the folders of `hr`, in their order, or the sets to use from the one folder.
        scale: of the low-quality folders to find.

    Raises:
        SetError: listing all problems.
    """
    if len(hr) == 1 and not lq and (inside := _sets_inside(hr[0], names)):
        places = inside
    else:
        _check_counts(hr, lq, names)
        places = [(names[index] if names else None, path, lq[index] if lq else None) for index, path in enumerate(hr)]
    found, problems = [], []
    for name, path, lq_path in places:
        try:
            found.append(_place(name, path, lq_path, scale))
        except LayoutError as error:
            problems.append(str(error))
    twice = sorted({place.name for place in found if [other.name for other in found].count(place.name) > 1})
    problems += [f"two sets are called {name}; name them with --name" for name in twice]
    _refuse(problems)
    return found


def open_set(place: SetPlace, scale: int) -> TestSet:
    """Read a set's images and pair them with their low-quality versions.

    HR is cropped from the top-left to multiples of 12 (of 12 and the scale, where 12 is no multiple of it), as AESOP's
    test sets are.

    Raises:
        SetError: listing every unusable or unpaired image; or no low-quality images at scale 1.
    """
    multiple = math.lcm(CROP_MULTIPLE, scale)
    smallest = math.ceil(SMALLEST_SIDE / multiple) * multiple
    try:
        if place.hr.is_file():
            images = stored(place.hr, scale=scale)
        else:
            layout = Layout(None, place.name, (place.hr,), () if place.lq is None else (place.lq,))
            remedy = f"; to have these made of the HR images, give --lq {MADE}"
            images = folder(layout, scale=scale, multiple=multiple, least=smallest, remedy=remedy)
    except SourceError as error:
        raise SetError(str(error)) from error
    if scale == 1 and images.lq is None:
        raise SetError(
            f"{place.name}: at scale 1 the low-quality images must be given; name them with --lq, or pack a "
            "store with study/prepare.py pack --scale 1 --degradation noise:25"
        )
    cropped = images.cropped(multiple)
    files = {} if place.hr.is_file() else {strip_key(path.stem): path for path in list_images(place.hr)}
    pairs = make_pairs(cropped, scale)
    given = f"given ({'/'.join((place.lq or place.hr).resolve().parts[-2:])})"
    return TestSet(place.name, pairs, images.images.shapes, files, BY_BICUBIC if pairs.exact else given, images.notes)


def match_images(
    results: Path, set_name: str, names: Sequence[str], several: bool
) -> tuple[dict[str, Path], list[str], list[str]]:
    """Find a folder's SR image of each HR image: by its name, or its name with a suffix, such as `baby_esrgan.png`.

    Args:
        results: the folder.
        set_name: of the set; images may be in a folder of that name, and must be if there are several sets.
        names: of the HR images.
        several: whether there is more than one set.

    Returns:
        Files by image name; the problems; and a sentence about files of no HR image, if there are any.
    """
    inside = results / set_name
    place = inside if inside.is_dir() else results
    if several and place != inside:
        return {}, [f"{results}: has no folder {set_name}, which is needed with several sets; add it"], []
    try:
        files = list_images(place)
    except ImageError as error:
        return {}, [str(error)], []
    found: dict[str, list[Path]] = {}
    others = []
    for file in files:
        fitting = [name for name in names if re.match(rf"{re.escape(name)}($|[^a-zA-Z0-9]|x\d)", file.stem)]
        if fitting:
            found.setdefault(max(fitting, key=len), []).append(file)
        else:
            others.append(file.name)
    problems = [f"{place}: no SR image of {name}; add it" for name in names if name not in found]
    problems += [
        f"{place}: {', '.join(file.name for file in paths)} all match {name}; keep one"
        for name, paths in found.items()
        if len(paths) > 1
    ]
    notes = [f"{place}: of no HR image of {set_name}, and not evaluated: {some(others)}"] if others else []
    return {name: paths[0] for name, paths in found.items()}, problems + (notes if problems else []), notes


def _sets_inside(root: Path, names: Sequence[str]) -> list[tuple[str | None, Path, Path | None]]:
    """Return the sets below a folder without images: those with the given names, or all known ones."""
    if not root.is_dir():
        return []
    below = {inner.name: inner for inner in sorted(root.iterdir()) if inner.is_dir()}
    if names:
        return [(name, below[name], None) for name in names] if all(name in below for name in names) else []
    try:
        find_layout([root], scale=4)
    except LayoutError:
        known = {known.name for known in KNOWN_SETS if known.test}
        return [(name, path, None) for name, path in below.items() if name in known]
    return []


def _check_counts(hr: Sequence[Path], lq: Sequence[Path], names: Sequence[str]) -> None:
    problems = []
    if lq and len(lq) != len(hr):
        problems.append(f"--lq must name one folder for each of --hr, but got {len(lq)} for {len(hr)}")
    if names and len(names) != len(hr):
        missing = [name for name in names if not (hr[0] / name).is_dir()]
        wrong = f"below {hr[0]} there is no {', '.join(missing)}" if len(hr) == 1 else f"got {', '.join(names)}"
        problems.append(f"--name must name folders below one --hr, or one set for each of --hr, but {wrong}")
    _refuse(problems)


def _place(name: str | None, path: Path, lq: Path | None, scale: int) -> SetPlace:
    if path.is_file():
        if lq is not None:
            raise LayoutError(f"--lq {lq}: {path} is a store, which has its own low-quality images; name its HR folder")
        return SetPlace(name or path.stem, path, None)
    layout = find_layout([path], scale=scale, lq=None if lq == Path(MADE) else ())
    if len(layout.hr) > 1:
        raise LayoutError(f"{path}: holds several sets of HR images; name one of {', '.join(map(str, layout.hr))}")
    beside = layout.lq[0] if layout.lq else None
    return SetPlace(name or layout.name, layout.hr[0], beside if lq in (None, Path(MADE)) else lq)


def _refuse(problems: Sequence[str], heading: str = "the sets cannot be used") -> None:
    if problems:
        raise SetError("\n".join([f"{heading}:", *(f"  {problem}" for problem in problems)]))
