"""Read BasicSR's LMDB: a folder whose `data.mdb` holds encoded images, and whose `meta_info.txt` lists them.

An image is addressed as a file in that folder, `Set5.lmdb/baby.png`; its key in the database is the name without
suffix. The database is opened for each read and closed again: LMDB allows one opening in a process, which must not
survive a fork.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from study.data.errors import ImageError

DATA, META = "data.mdb", "meta_info.txt"
FILES = (DATA, META, "lock.mdb")

_LINE = re.compile(r"(?P<name>.+) \((?P<height>\d+), ?(?P<width>\d+)(, ?\d+)?\)( \d+)?")
_one_opening = threading.Lock()


def is_lmdb(folder: Path) -> bool:
    """Return whether a folder is an LMDB, by its name or its files."""
    return folder.suffix == ".lmdb" or (folder / DATA).is_file()


def list_entries(folder: Path) -> list[Path]:
    """Return the paths of an LMDB's images, sorted by name.

    Raises:
        ImageError: the package `lmdb` is not installed, or a file of the folder is missing or no such file.
    """
    with _opened(folder):
        pass
    return sorted(folder / name for name in _listed(folder))


def read_entry(path: Path) -> bytes:
    """Return the content of an image of an LMDB; ImageError if it is absent or the database is damaged."""
    with _opened(path.parent) as environment, environment.begin() as transaction:
        content = transaction.get(path.stem.encode())
    if content is None:
        raise ImageError(path, f"{META} lists it, but {DATA} has no key {path.stem!r}; write the LMDB again")
    return bytes(content)


def check_listed_size(path: Path, size: tuple[int, int]) -> None:
    """Raise ImageError if an LMDB lists another (height, width) of an image than its content has."""
    listed = _listed(path.parent).get(path.name)
    if listed is not None and listed != size:
        found = f"the image is {size[1]} x {size[0]} px, but {META} says {listed[1]} x {listed[0]} px"
        raise ImageError(path, f"{found}; one of the two is of another set: write the LMDB again")


def unlisted_keys(folder: Path) -> list[str]:
    """Return the keys of an LMDB that its list does not have."""
    listed = {Path(name).stem.encode() for name in _listed(folder)}
    with _opened(folder) as environment, environment.begin() as transaction:
        keys = [bytes(key) for key in transaction.cursor().iternext(values=False)]
    return [key.decode(errors="backslashreplace") for key in keys if key not in listed]


@contextmanager
def _opened(folder: Path) -> Iterator[Any]:
    """Open the database for reading, without its lock file.

    A file that was cut short is refused: it is mapped into memory, and a page beyond its end would kill the process.
    """
    try:
        import lmdb
    except ImportError as error:
        problem = "an LMDB needs the package lmdb, which is not installed; install it: pip install lmdb"
        raise ImageError(folder, problem) from error
    path = folder / DATA
    if not path.is_file():
        raise ImageError(folder, f"an LMDB has a file {DATA}, which is missing; copy the whole folder")
    try:
        with _one_opening, lmdb.open(str(folder), readonly=True, create=False, lock=False, readahead=False) as opened:
            used = (opened.info()["last_pgno"] + 1) * opened.stat()["psize"]
            if path.stat().st_size < used:
                raise ImageError(path, f"has {path.stat().st_size} of {used} bytes: it was cut short; copy it again")
            yield opened
    except lmdb.Error as error:
        raise ImageError(path, f"this is no LMDB, or it is damaged ({error}); copy it again") from error


def _listed(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the listed names with their (height, width)."""
    path = folder / META
    try:
        status = path.stat()
    except OSError as error:
        remedy = "write one line an image, `NAME.png (HEIGHT,WIDTH,CHANNELS) 1`, as BasicSR's create_lmdb.py does"
        raise ImageError(
            folder, f"an LMDB has a file {META} that lists its images, which is missing; {remedy}"
        ) from error
    return _parsed(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _parsed(path: Path, _changed_at: int, _bytes: int) -> dict[str, tuple[int, int]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(path, f"the list cannot be read ({error}); copy it again") from error
    sizes: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ImageError(path, f"line {number}, {line[:80]!r}, is not `NAME.png (HEIGHT,WIDTH,CHANNELS) LEVEL`")
        name = match["name"]
        if "/" in name or name in sizes:
            rule = "names an image twice" if name in sizes else "names a sub-folder, as lists of video frames do"
            raise ImageError(path, f"line {number}, {line[:80]!r}, {rule}; list each image once, by its name alone")
        sizes[name] = int(match["height"]), int(match["width"])
    if not sizes:
        raise ImageError(path, "the list is empty; write the LMDB again")
    return sizes
