"""Find and read the files of encoded images: in folders, and in LMDBs (`lmdb_files`)."""

import io
import shlex
from pathlib import Path
from typing import BinaryIO

from study.data.errors import ImageError, some
from study.data.lmdb_files import is_lmdb, list_entries, read_entry

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".avif", ".ppm", ".pgm")


def list_images(folder: Path | str) -> list[Path]:
    """Return the image files directly inside a folder (by IMAGE_SUFFIXES, any case), or in an LMDB, sorted by name.

    Hidden files, sub-folders and other files are ignored; `folder_notes` names them.

    Raises:
        ImageError: the folder is missing, is a file, or holds no image; or an LMDB cannot be read.
    """
    folder = Path(folder)
    if not folder.exists():
        raise ImageError(folder, "there is no such folder; check the path")
    if not folder.is_dir():
        raise ImageError(folder, "this is a file, but a folder of images is needed; name the folder that holds it")
    if is_lmdb(folder):
        return list_entries(folder)
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    images = [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()]
    if not images:
        problem = f"no image in this folder (looked for {', '.join(IMAGE_SUFFIXES)}); {_contents(entries)}"
        raise ImageError(folder, problem)
    return images


def open_image(path: Path) -> BinaryIO:
    """Open an image file, or an image of an LMDB, for reading; raise ImageError if it cannot be read."""
    if is_lmdb(path.parent):
        return io.BytesIO(read_entry(path))
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(path, "there is no such file; check the path") from error
    except IsADirectoryError as error:
        raise ImageError(path, "this is a folder, an image file is needed") from error
    except OSError as error:
        raise ImageError(path, _unreadable(error)) from error


def read_bytes(path: Path) -> bytes:
    """Return the content of an image file; raise ImageError if it cannot be read."""
    try:
        with open_image(path) as file:
            return file.read()
    except OSError as error:  # of the disk
        raise ImageError(path, _unreadable(error)) from error


def _unreadable(error: OSError) -> str:
    return f"the file cannot be read ({error.strerror}); check its permissions"


def pack_command(folder: Path) -> str:
    """Return the command that packs a folder or an LMDB into a store beside it."""
    store = folder.with_name(folder.name.removesuffix(".lmdb") + ".arrow")
    return f"python study/prepare.py pack {shlex.quote(str(folder))} --output {shlex.quote(str(store))}"


def _contents(entries: list[Path]) -> str:
    """Describe the content of a folder without images, and which sub-folder to name instead."""
    if not entries:
        return "it is empty"
    folders = [f"{entry.name}/" for entry in entries if entry.is_dir()]
    if folders:
        return f"it has sub-folders {some(folders)}: name one of these"
    return f"it has {some([entry.name for entry in entries])}"
