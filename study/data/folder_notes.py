"""Describe what a folder holds besides plain sRGB images: ignored files, transparency, colour profiles."""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from study.data.errors import some
from study.data.image_files import IMAGE_SUFFIXES, list_images, open_image
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
        transparent = [path.name for path in images if transparent_share(path) > 0]
        if transparent:
            notes.append(f"{folder}: transparent pixels show white, in {some(transparent)}.")
        profiles = [f"{path.name} ({profile})" for path in images if (profile := _other_profile(path))]
        if profiles:
            remedy = "convert them for their true colours"
            notes.append(
                f"{folder}: read as sRGB, although their colour profile is another: {some(profiles)}; {remedy}."
            )
    return notes


def transparent_share(path: Path) -> float:
    """Return the share of an image file's pixels that are not opaque; 0 for a file that cannot be read."""
    try:
        with open_image(path) as file, Image.open(file) as image:
            if not image.has_transparency_data:
                return 0.0
            return float((np.asarray(image.convert("RGBA"))[..., 3] < 255).mean())
    except Exception:  # decoders raise errors of many types on damaged files, which `read_image` reports
        return 0.0


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


def _other_profile(path: Path) -> str:
    """Return the description of an image's colour profile; "" if it has none, or sRGB's."""
    try:
        with open_image(path) as file, Image.open(file) as image:
            profile = image.info.get("icc_profile")
    except Exception:  # as above
        return ""
    if not profile:
        return ""
    try:
        described = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (ImageCms.PyCMSError, OSError):
        return "a profile that cannot be read"
    return "" if "srgb" in described.lower() else ascii(described)[1:-1]
