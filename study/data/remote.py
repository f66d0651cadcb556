"""Copy a store from remote storage to this machine, once for all its processes."""

import hashlib
import logging
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from study.files import file_lock

if TYPE_CHECKING:  # imported late: folders and photographs need no pyarrow
    from pyarrow import fs

CACHE_VARIABLE = "AESOP_STUDY_CACHE"
"""The environment variable that names the folder for local copies; by default ~/.cache/aesop-study."""

LOG_SECONDS = 10  # between lines of progress

_CHUNK = 16 * 2**20
_NETWORK_FILESYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "glusterfs", "fuse.s3fs", "fuse.gcsfuse"}
_SECRET_OPTION = re.compile(r"[?&][^=&]*(key|token|secret|password|sig)[^=&]*=", re.IGNORECASE)
_URI = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


log = logging.getLogger(__name__)


class RemoteError(ValueError):
    """A store on remote storage that could not be copied: its URI, the cause and the remedy."""


def check_no_secrets(uri: str) -> None:
    """Raise RemoteError, without repeating them, if a URI contains credentials."""
    scheme, _, rest = uri.partition("://")
    user = rest.partition("/")[0].rpartition("@")[0]
    if user or _SECRET_OPTION.search(rest):
        place = rest.partition("?")[0].rpartition("@")[2]
        raise RemoteError(
            f"{scheme}://{place}: credentials do not belong into the URI, which is stored with the study; set "
            "environment variables such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role of the machine"
        )


def is_uri(source: str) -> bool:
    """Return whether a source is a URI (`s3://bucket/set.arrow`), not a path."""
    return _URI.match(source) is not None


def local_copy(source: str) -> Path:
    """Return a path on a local disk for a source.

    A path on a local disk, and any folder, is returned unchanged. A store (a file) at a URI that pyarrow.fs
    supports (s3, gs, hdfs, abfs, file) or on a network file system is copied to the cache first. The copy's name
    depends on the source's place, size and time of change, so that a changed store is copied anew; a copy that exists
    is complete.

    Raises:
        RemoteError: the source is missing or unreadable, or the cache has no room for it.
    """
    if not is_uri(source):
        path = Path(source)
        if not (path.is_file() and _on_network(path.resolve())):
            return path
        uri = path.resolve().as_uri()
    else:
        uri = source
    filesystem, place = connect(uri)
    info = _describe(source, filesystem, place)
    if info.type.name == "Directory":
        raise RemoteError(f"{source}: this is a folder; pack it into one store and name that: study/prepare.py pack")
    identity = f"{source}\n{info.size}\n{info.mtime_ns}"
    copy = cache_folder() / f"{Path(place).stem}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.arrow"
    if not copy.exists():
        with file_lock(copy.with_suffix(".lock")):
            if not copy.exists():
                _fetch(source, filesystem, place, info.size, copy)
    return copy


def connect(uri: str) -> "tuple[fs.FileSystem, str]":
    """Return the file system of a URI, and the path in it.

    Raises:
        RemoteError: it cannot be reached, or the URI contains credentials, which would be stored and shown with it.
    """
    check_no_secrets(uri)
    from pyarrow import fs

    try:
        filesystem, place = fs.FileSystem.from_uri(uri)
    except Exception as error:  # of many types: unknown schemes, missing credentials
        raise RemoteError(
            f"{uri}: this storage cannot be reached ({error}); check the URI and the credentials"
        ) from error
    return filesystem, place


def _describe(source: str, filesystem: "fs.FileSystem", place: str) -> "fs.FileInfo":
    try:
        info = filesystem.get_file_info(place)
    except Exception as error:
        raise RemoteError(f"{source}: this storage cannot be read ({error}); check the credentials") from error
    if info.type.name == "NotFound":
        raise RemoteError(f"{source}: there is no such store; check the name")
    return info


def _fetch(source: str, filesystem: "fs.FileSystem", place: str, size: int, copy: Path) -> None:
    """Copy a file into the cache, under another name until it is complete."""
    free = shutil.disk_usage(copy.parent).free
    if size > free:
        raise RemoteError(
            f"{source}: {size / 1e9:.2f} GB do not fit into {copy.parent}, which has {free / 1e9:.2f} GB free; "
            f"make room, or name another folder in {CACHE_VARIABLE}"
        )
    log.info("copying %s (%.2f GB) to %s", source, size / 1e9, copy.parent)
    partial = copy.with_suffix(".partial")  # overwrites that of a killed process: the lock is held
    try:
        with filesystem.open_input_stream(place) as stream, open(partial, "wb") as file:
            copied = _copy(stream, file, size)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RemoteError(
            f"{source}: copying it to {copy.parent} failed ({error}); run the same command again"
        ) from error
    if copied != size:
        partial.unlink()
        raise RemoteError(f"{source}: {copied} of {size} bytes came; run the same command again")
    os.replace(partial, copy)


def _copy(stream: BinaryIO, file: BinaryIO, size: int) -> int:
    copied = 0
    started = reported = time.monotonic()
    while chunk := stream.read(_CHUNK):
        file.write(chunk)
        copied += len(chunk)
        if time.monotonic() - reported >= LOG_SECONDS:
            reported = time.monotonic()
            rate = copied / (reported - started)
            left = (size - copied) / rate
            log.info("%.2f of %.2f GB, %.0f MB/s, %.0f s left", copied / 1e9, size / 1e9, rate / 1e6, left)
    file.flush()
    os.fsync(file.fileno())
    return copied


def cache_folder() -> Path:
    """Return the folder for local copies, creating it if needed; RemoteError if that fails."""
    folder = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "aesop-study").resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RemoteError(
            f"{folder} cannot be used for local copies ({error}); name another folder in {CACHE_VARIABLE}"
        ) from error
    return folder


def _on_network(path: Path) -> bool:
    """Return whether a file is on a network file system, by the longest mount point above it; False but on Linux."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return False
    mounts = {fields[1].replace("\\040", " "): fields[2] for fields in map(str.split, lines)}
    above = [str(parent) for parent in path.parents if str(parent) in mounts]
    return bool(above) and mounts[max(above, key=len)] in _NETWORK_FILESYSTEMS
