"""Describe what a folder holds besides plain sRGB images: ignored files, transparency, profiles, frames, links."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from study.data.colour_profiles import ColourProfile, profile_of
from study.data.errors import some
from study.data.image_files import IMAGE_SUFFIXES, list_images, open_image
from study.data.images import check_size, strips
from study.data.lmdb_files import FILES, is_lmdb, unlisted_keys


def folder_notes(folders: Sequence[Path]) -> list[str]:
    """Return sentences about folders of images: what is ignored in each, and images whose colours are a convention.

    The images' headers are read, and the pixels of those that may be transparent. Files that cannot be read as images
    are left to the reader of the images. Nothing is said of a folder that holds plain images alone.

    Raises:
        ImageError: as `image_files.list_images`.
    """
    notes = []
    for folder in folders:
        images = list_images(folder)
        ignored = _ignored(folder, images, folders)
        if ignored:
            notes.append(f"{folder}: {_counted(len(images), 'image')}; ignored: {', '.join(ignored)}.")
        notes += image_notes(folder, images)
    return notes


def image_notes(folder: Path | str, images: Sequence[Path]) -> list[str]:
    """Return sentences about images whose reading is a choice, after the name of their folder or set.

    These are images with transparent pixels, another colour profile than sRGB or several frames, and links to others.
    """
    transparent, converted, unconverted, frames = [], defaultdict(list), [], []
    for path in images:
        found = _read_kind(path)
        if found.is_transparent:
            transparent.append(path.name)
        if found.frames > 1:
            frames.append(f"{path.name} ({found.frames})")
        if found.profile is not None and found.profile.transform is not None:
            converted[found.profile.name].append(path.name)
        elif found.profile is not None:
            unconverted.append(f"{path.name} ({found.profile.name})")
    notes = []
    if frames:
        notes.append(f"{folder}: only the first of several frames or pages is read, of {some(frames)}.")
    if links := _repeated(images):
        notes.append(f"{folder}: links to other images of it, which so count twice: {some(links)}.")
    if transparent:
        notes.append(f"{folder}: transparent pixels show white, in {some(transparent)}.")
    if converted:
        counted = [f"{len(names)} from {profile} ({some(names, 4)})" for profile, names in sorted(converted.items())]
        notes.append(f"{folder}: converted to sRGB: {', '.join(counted)}.")
    if unconverted:
        notes.append(f"{folder}: taken as sRGB, because their colour profile cannot be applied: {some(unconverted)}.")
    return notes


def _repeated(images: Sequence[Path]) -> list[str]:
    """Return the names of the links to a file that has another name among the images."""
    files = Counter(path.resolve() for path in images)
    return [path.name for path in images if path.is_symlink() and files[path.resolve()] > 1]


@dataclass(frozen=True)
class _Kind:
    """What an image is: whether it has transparent pixels, its colour profile, and its number of frames or pages."""

    is_transparent: bool = False
    profile: ColourProfile | None = None
    frames: int = 1


def _read_kind(path: Path) -> _Kind:
    """Return what an image is; of one that cannot be read, nothing special."""
    try:
        with open_image(path) as file, Image.open(file) as image:
            check_size(path, image, large=True)
            profile = profile_of(image)
            clear = image.has_transparency_data and any(
                (np.asarray(strip.convert("RGBA"))[..., 3] < 255).any() for strip in strips(image)
            )
            # Cameras write JPEGs whose further frames are previews or gain maps of the first (MPO).
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            return _Kind(clear, profile, frames)
    except Exception:  # decoders raise errors of many types on damaged files, which `read_image` reports
        return _Kind()


def _ignored(folder: Path, images: Sequence[Path], used: Iterable[Path]) -> list[str]:
    """Return what a folder holds besides its images and the folders in use, each entry counted once."""
    known = {*images, *used}
    kinds: Counter[str] = Counter()
    named: dict[str, list[str]] = {}
    entries = [(_kind(entry), entry.name) for entry in sorted(set(folder.iterdir()) - known)]
    if is_lmdb(folder):
        entries = [entry for entry in entries if entry[1] not in FILES]
        entries += [("unlisted key", key) for key in unlisted_keys(folder)]
    for kind, name in entries:
        kinds[kind] += 1
        named.setdefault(kind, []).append(ascii(name)[1:-1])
    return [f"{_counted(kinds[kind], kind)} ({some(names, 4)})" for kind, names in sorted(named.items())]


def _kind(entry: Path) -> str:
    if entry.is_symlink() and not entry.exists():
        return "dangling link"
    if entry.name.startswith("."):
        return "hidden entry"
    if entry.is_dir():
        return "sub-folder"
    if entry.suffix.lower() in IMAGE_SUFFIXES:
        return "special file"  # a pipe or a socket
    return f"{entry.suffix.lower()} file" if entry.suffix else "file without a suffix"


def _counted(count: int, kind: str) -> str:
    plural = {"hidden entry": "hidden entries", "file without a suffix": "files without a suffix"}
    return f"{count} {kind if count == 1 else plural.get(kind, f'{kind}s')}"
