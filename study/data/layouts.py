"""The standard sets of super-resolution: their names, their folders as distributed or re-packed, their image counts."""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.data.image_files import IMAGE_SUFFIXES, list_images
from study.data.image_set import CROP_MULTIPLE
from study.data.lmdb_files import is_lmdb

CUSTOM = "custom"
"""The name that packs a set without cropping it or checking its image count."""


@dataclass(frozen=True)
class KnownSet:
    """A standard set.

    Attributes:
        name: as papers write it, with the part if it has several.
        count: its number of images.
        test: the set is for evaluation, so HR is cropped to multiples of 12; a training set is not cropped.
    """

    name: str
    count: int
    test: bool

    @property
    def multiple(self) -> int:
        """HR images are cropped to multiples of this."""
        return CROP_MULTIPLE if self.test else 1


KNOWN_SETS = (
    KnownSet("DIV2K", 800, test=False),
    KnownSet("DIV2K-valid", 100, test=True),
    KnownSet("Flickr2K", 2650, test=False),
    KnownSet("DF2K", 3450, test=False),
    KnownSet("LSDIR", 84991, test=False),
    KnownSet("LSDIR-valid", 250, test=True),
    KnownSet("Set5", 5, test=True),
    KnownSet("Set14", 14, test=True),
    KnownSet("BSD100", 100, test=True),
    KnownSet("Urban100", 100, test=True),
    KnownSet("General100", 100, test=True),
    KnownSet("Manga109", 109, test=True),
)

# Other names of the sets and their parts; compared without case, `_`, `-` and spaces.
_ALIASES = {
    "div2ktrainhr": "DIV2K",
    "div2ktrain": "DIV2K",
    "div2kvalidhr": "DIV2K-valid",
    "div2k100": "DIV2K-valid",
    "div2kval": "DIV2K-valid",
    "flickr2khr": "Flickr2K",
    "lsdirtrain": "LSDIR",
    "lsdir250": "LSDIR-valid",
    "lsdirval": "LSDIR-valid",
    "b100": "BSD100",
    "bsds100": "BSD100",
}

# Sub-folders of a set's folder with HR images, in any case of letters.
_HR_FOLDERS = (
    *("HR", "GTmod12", "GT", "DIV2K_train_HR", "DIV2K_valid_HR", "Flickr2K_HR", "original"),
    *("trainH", "testH"),  # KAIR's
)
_HR_NAME = re.compile(r"(?P<before>|.*_)(HR|GTmod12|GT|original)(?P<after>(_sub)?(\.lmdb)?)", re.IGNORECASE)
_KAIR_NAME = re.compile(r"(?P<before>|train|val|test)H")

# Folders of low-quality images beside an HR folder: `HR` there becomes one of these, as in `DIV2K_train_LR_bicubic/X4`.
_LQ_OF_SCALE = ("LRx{scale}", "LRbicx{scale}", "LR_bicubic/X{scale}", "LR_x{scale}", "LR_bicubic_X{scale}")
_LQ_BESIDE = (*_LQ_OF_SCALE, "LR/X{scale}", "LR_unknown/X{scale}", "LR", "LQ")

_KEY_SUFFIX = re.compile(
    r"(_SRF_[2348]_(HR|LR)|_HR|_GT|_LR(BI|BD|DN)?[2348]?|_LQ|[_-]x[2348]|(?<=\d)x[2348][md]?)$", re.IGNORECASE
)
_LQ_SUFFIX = re.compile(r"x[2348]$", re.IGNORECASE)


class LayoutError(ValueError):
    """A folder without images where they were expected; the message names its content."""


@dataclass(frozen=True)
class Layout:
    """Where a set's images are.

    Attributes:
        known: the standard set; None for a custom set.
        name: of the set.
        hr: folders of HR images.
        lq: folders of low-quality images; empty if they are to be made.
    """

    known: KnownSet | None
    name: str
    hr: tuple[Path, ...]
    lq: tuple[Path, ...]


def strip_key(stem: str) -> str:
    """Return a file's name (without suffix) without HR, LR and scale suffixes: `0001x4` -> `0001`, `baby_HR` -> `baby`.

    Removes `_HR`, `_GT`, `_LR`, `_LR4`, `_LRBI` (RCAN's: also BD and DN), `_LQ`, `_SRF_4_HR`, `_SRF_4_LR`, `_x4`, and
    `x4` after a digit (DIV2K's: also `x4m` and `x4d`), for the scales 2, 3, 4 and 8, in any case, and repeatedly. A
    name that consists of a suffix is returned unchanged.
    """
    while (shorter := _KEY_SUFFIX.sub("", stem)) != stem and shorter:
        stem = shorter
    return stem


def lq_key(stem: str, hr_keys: Container[str]) -> str:
    """Return the key of a low-quality file: as `strip_key`, and `babyx4` -> `baby` if there is such an HR image."""
    key = strip_key(stem)
    shorter = strip_key(_LQ_SUFFIX.sub("", stem))
    return shorter if key not in hr_keys and shorter in hr_keys else key


def find_layout(
    folders: Sequence[Path], *, scale: int, lq: Sequence[Path] | None = (), name: str | None = None
) -> Layout:
    """Recognise the set in some folders, and find its HR and low-quality folders.

    Args:
        folders: the set's folder, or folders of HR images; several become one set.
        scale: of the low-quality folders to look for.
        lq: folders of low-quality images; empty to look for them, None to use none.
        name: of the set; None to derive it from the folders, `custom` to pack without crop or count.

    Raises:
        LayoutError: a folder is missing or holds no images, or only some HR folders have low-quality images.
    """
    resolved = [_resolve(folder.resolve()) for folder in folders]
    hr = [folder for found in resolved for folder in found]
    if lq is not None and not lq:
        lq = _lq_folders(hr, scale)
    known = _known(hr) if name is None else _by_name(name)
    return Layout(known, known.name if known else _custom_name(folders, name), tuple(hr), tuple(lq or ()))


def _resolve(folder: Path) -> list[Path]:
    """Return the folders with a folder's HR images: itself, or its sub-folders in one of the known layouts."""
    if not folder.exists():
        raise LayoutError(f"{folder}: there is no such folder; check the path")
    if not folder.is_dir():
        raise LayoutError(f"{folder}: this is a file, but a folder of images is needed; name the folder that holds it")
    if _has_images(folder):
        return [folder]
    inner = [found for name in _HR_FOLDERS if (found := _below(folder, name)) is not None]
    if inner:
        # Only the first: HR and GTmod12 hold the same images, DIV2K's training and validation parts are two sets.
        nested = [deeper for found in inner[:1] for deeper in ([found] if _has_images(found) else _shards(found))]
        if nested:
            return nested
    parts = [folder / name for name in ("DIV2K", "Flickr2K") if (folder / name).is_dir()]
    if len(parts) == 2:
        return [found for part in parts for found in _resolve(part)]
    if _first_known([folder.name, folder.parent.name]) == _by_name("LSDIR") and (shards := _shards(folder)):
        return shards
    raise LayoutError(_no_images(folder))


def _shards(folder: Path) -> list[Path]:
    return [inner for inner in sorted(folder.iterdir()) if inner.is_dir() and _has_images(inner)]


def _lq_folders(hr: Sequence[Path], scale: int) -> list[Path]:
    """Return the low-quality folder of each HR folder; none if no HR folder has one."""
    found = {folder: _lq_folder(folder, scale) for folder in hr}
    without = [str(folder) for folder, lq in found.items() if lq is None]
    given = [lq for lq in found.values() if lq is not None]
    if given and without:
        raise LayoutError(
            f"there are low-quality images in {', '.join(map(str, given))}, but none beside {', '.join(without)}; add "
            "those, or have all of them made of the HR images (--lq made or --val-lq made; packing: "
            "--degradation bicubic)"
        )
    return given


def _lq_folder(hr: Path, scale: int) -> Path | None:
    """Return the folder of low-quality images that belongs to a folder of HR images, if there is one.

    Beside a folder whose name does not end in HR or GT, or in it, they must also share a name with an HR image.
    """
    if (match := _HR_NAME.fullmatch(hr.name)) is not None:
        beside = [f"{match['before']}{name}{match['after']}" for name in _LQ_BESIDE]
    elif (match := _KAIR_NAME.fullmatch(hr.name)) is not None:
        beside = [f"{match['before']}L"]
    else:
        own = [f"{hr.name}_{name}" for name in _LQ_BESIDE] + [f"{hr.name}/{name}" for name in _LQ_BESIDE]
        beside = [*own, *_LQ_OF_SCALE]
    for template in beside:
        candidate = _below(hr.parent, template.replace("{scale}", str(scale)))
        if candidate is not None and _has_images(candidate) and (match is not None or _share_a_name(hr, candidate)):
            return candidate
    return None


def unused_lq_folders(hr: Path) -> list[str]:
    """Return the names of folders beside an HR folder that are called as its low-quality ones (`HR`, `LR_mild`)."""
    match = _HR_NAME.fullmatch(hr.name)
    start = "/" if match is None else f"{match['before']}L"
    called = [path.name for path in sorted(hr.parent.iterdir()) if path.is_dir()]
    return [name for name in called if name.lower().startswith((f"{start}R".lower(), f"{start}Q".lower()))]


def _share_a_name(hr: Path, lq: Path) -> bool:
    keys = {strip_key(path.stem) for path in list_images(hr)}
    return any(lq_key(path.stem, keys) in keys for path in list_images(lq))


def _below(folder: Path, place: str) -> Path | None:
    """Return the folder at a place below another, in any case of letters; as written, if there are several."""
    for name in place.split("/"):
        exact = folder / name
        inner = [exact] if exact.is_dir() else [path for path in sorted(folder.iterdir()) if path.is_dir()]
        found = next((path for path in inner if path.name.lower() == name.lower()), None)
        if found is None:
            return None
        folder = found
    return folder


def _known(hr: Sequence[Path]) -> KnownSet | None:
    """Return the standard set that the HR folders, or their parents, are named after."""
    recognised = {_first_known([_name(folder), *(above.name for above in folder.parents[:2])]) for folder in hr}
    if recognised == {_by_name("DIV2K"), _by_name("Flickr2K")}:
        return _by_name("DF2K")
    return recognised.pop() if len(recognised) == 1 else None


def _first_known(names: Sequence[str]) -> KnownSet | None:
    return next((known for name in names if (known := _by_name(name)) is not None), None)


def _by_name(name: str) -> KnownSet | None:
    name = _ALIASES.get(_key(name), name)
    return next((known for known in KNOWN_SETS if _key(known.name) == _key(name)), None)


def _key(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()


def _custom_name(folders: Sequence[Path], name: str | None) -> str:
    """Return the name of a set that is not standard: the given name, or else that of its folders."""
    if name is not None and name != CUSTOM:
        return name
    resolved = [folder.resolve() for folder in folders]
    parents = {folder.parent for folder in resolved}
    if len(resolved) > 1 and len(parents) == 1:
        return parents.pop().name
    known = {name.lower() for name in _HR_FOLDERS}
    return "+".join(folder.parent.name if folder.name.lower() in known else _name(folder) for folder in resolved)


def _name(folder: Path) -> str:
    return folder.name.removesuffix(".lmdb")


def _has_images(folder: Path) -> bool:
    return is_lmdb(folder) or any(
        entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file() and not entry.name.startswith(".")
        for entry in folder.iterdir()
    )


def _no_images(folder: Path) -> str:
    inner = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not inner:
        return f"{folder}: no image in this folder (looked for {', '.join(IMAGE_SUFFIXES)})"
    named = " ".join(str(folder / name) for name in inner[:4])
    return f"{folder}: no image in this folder, but sub-folders {', '.join(inner[:8])}; name those: {named}"
