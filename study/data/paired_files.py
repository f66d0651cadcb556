"""Match the HR files of a set with their low-quality files, and find what is wrong with them before decoding."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from study.data.cutting import Piece, pieces_of
from study.data.errors import ImageError
from study.data.image_files import list_images
from study.data.images import read_size
from study.data.layouts import CUSTOM, Layout, lq_key, strip_key


@dataclass(frozen=True)
class Item:
    """One image: its key, its HR file, its low-quality file if it has one, and its parts where packing cuts it."""

    key: str
    hr: Path
    lq: Path | None
    pieces: tuple[Piece, ...] = ()


def find_items(
    layout: Layout, *, scale: int, multiple: int, least: int, large: bool = False, name: str | None = CUSTOM
) -> tuple[list[Item], list[str]]:
    """Return the items that can be used, by their names and headers, and the problems of all others.

    Args:
        layout: where the files are.
        scale: HR pixels per low-quality pixel.
        multiple: HR images will be cropped to multiples of this.
        least: the smallest side of an HR image, in pixels.
        large: whether images may have more than MAX_PIXELS; they get several pieces.
        name: of the set as the user gave it; `custom` allows an incomplete set.
    """
    items, problems = _match(layout)
    problems += _count_problems(layout, len(items), name)
    sound = []
    for item in items:
        try:
            size = read_size(item.hr, large=large)
            lq = None if item.lq is None else read_size(item.lq, large=large)
        except ImageError as error:
            problems.append(str(error))
            continue
        too_small = f"{item.hr}: {size[1]} x {size[0]} px, but both sides must have at least {least} px; remove it"
        of_item = [too_small] if min(size) < least else size_problems(item, size, lq, scale, multiple)
        problems += of_item
        if not of_item and (item.lq is not None or not layout.lq):
            height, width = (side // multiple * multiple for side in size)
            sound.append(replace(item, pieces=pieces_of(item.key, height, width, math.lcm(scale, multiple))))
    sound.sort(key=lambda item: item.pieces[0].key)
    keys = [piece.key for item in sound for piece in item.pieces]
    between = [later for earlier, later in pairwise(keys) if earlier >= later]
    problems += [f"{layout.hr[0]}: {key} has the name of a part of a cut image; rename it" for key in between]
    return sound, sorted(problems)


def size_problems(item: Item, hr: tuple[int, int], lq: tuple[int, int] | None, scale: int, multiple: int) -> list[str]:
    """Return the problem, if any, of an item's (height, width) sizes at a scale."""
    cropped = (hr[0] // multiple * multiple, hr[1] // multiple * multiple)

    def matches(factor: int) -> bool:
        return lq is not None and (sizes_match(cropped, lq, factor) or sizes_match(hr, lq, factor))

    if lq is None or matches(scale):
        return []
    other = next((factor for factor in (1, 2, 3, 4, 8) if factor != scale and matches(factor)), None)
    hint = "no scale would fit" if other is None else f"it would fit scale {other}"
    return [
        f"{item.lq}: {lq[1]} x {lq[0]} px is not {item.hr.name} ({hr[1]} x {hr[0]} px) at scale {scale}: {hint}; "
        f"choose the scale of the low-quality images (--scale), or have them made of the HR images"
    ]


def name_problem(name: str) -> str:
    """Return what is wrong with an image's name, "" if nothing; names become file names in reports."""
    if not name or name.strip(".") == "" or ".." in name:
        return "is empty or contains '..'"
    if any("\ud800" <= character <= "\udfff" for character in name):
        return "is not UTF-8, so that it cannot be recorded"
    if any(character in "/\\" or not character.isprintable() for character in name):
        return "contains a path separator or a control character"
    return ""


def sizes_match(hr: tuple[int, ...], lq: tuple[int, ...], scale: int) -> bool:
    """Return whether the low-quality sides are HR's divided by the scale, rounded down (ours) or up (MATLAB's)."""
    return any(
        all(lq_side == round_(hr_side / scale) for hr_side, lq_side in zip(hr[:2], lq[:2], strict=True))
        for round_ in (math.floor, math.ceil)
    )


def _match(layout: Layout) -> tuple[list[Item], list[str]]:
    """Return one item per HR file, in the order of their keys, and the problems of names."""
    hr, problems = _by_key(layout.hr, strip_key)
    lq, of_lq = _by_key(layout.lq, lambda stem: lq_key(stem, hr))
    problems += of_lq
    if layout.lq:
        problems += [f"{hr[key]}: no low-quality image of that name; add it, or remove this" for key in hr.keys() - lq]
        problems += [f"{lq[key]}: no HR image of that name; add it, or remove this" for key in lq.keys() - hr]
    return [Item(key, path, lq.get(key)) for key, path in sorted(hr.items())], problems


def _by_key(folders: Iterable[Path], key_of: Callable[[str], str]) -> tuple[dict[str, Path], list[str]]:
    keyed: dict[str, Path] = {}
    problems = []
    for path in (path for folder in folders for path in list_images(folder)):
        key = key_of(path.stem)
        if problem := name_problem(key):
            problems.append(f"{str(path)!r}: the name {problem}; rename it")
        elif key in keyed:
            problems.append(f"{path}: the same image name as {keyed[key]} ({key!r}); rename or remove one")
        else:
            keyed[key] = path
    return keyed, problems


def _count_problems(layout: Layout, count: int, name: str | None) -> list[str]:
    if layout.known is None or layout.known.count == count or name == CUSTOM:
        return []
    return [
        f"{layout.known.name} has {layout.known.count} images, but {count} were found; complete it, or pack these "
        f"images under no known name: --name {CUSTOM}"
    ]
