"""Files of this machine, written under a temporary name and renamed when they are complete."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import BinaryIO

from pipeline.storage.errors import (
    AccessDeniedError,
    FileMissingError,
    IsFolderError,
    NoSpaceError,
    NotAFolderError,
    StorageError,
)
from pipeline.storage.stored_file import StoredFile

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.partial")
_ATTEMPTS = 100  # to create a file in a folder that other processes remove
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


def exists(path: str) -> bool:
    """Whether there is a file or folder."""
    return os.path.exists(path)


def stat(path: str) -> StoredFile:
    """Describe the file at `path`."""
    status = os.stat(path)
    if S_ISDIR(status.st_mode):
        raise IsADirectoryError(path)
    return _stored_file(path, status)


def list_files(path: str) -> Iterator[StoredFile]:
    """The files below `path` in no particular order, without those still being written."""
    if os.path.isfile(path):
        yield stat(path)
        return
    visited: set[str] = set()
    for folder, subfolders, names in os.walk(path, followlinks=True, onerror=_raise_unless_missing):
        if (real := os.path.realpath(folder)) in visited:
            subfolders.clear()  # a link led back to a folder that is listed already
            continue
        visited.add(real)
        for name in names:
            if not _TEMPORARY.fullmatch(name):
                yield from _listed(os.path.join(folder, name))


def _listed(path: str) -> Iterator[StoredFile]:
    """Describe a file or a dangling link; nothing for a pipe or a device, whose reader might wait without end."""
    with suppress(FileNotFoundError):  # deleted since the folder was read
        if not os.path.exists(path):
            yield StoredFile(path, 0, str(os.lstat(path).st_mtime_ns))
        elif S_ISREG((status := os.stat(path)).st_mode):
            yield _stored_file(path, status)


def _stored_file(path: str, status: os.stat_result) -> StoredFile:
    return StoredFile(path, status.st_size, str(status.st_mtime_ns))


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def read_bytes(path: str, start: int, size: int | None) -> bytes:
    """A range of the file."""
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(-1 if size is None else size)


def publish(source: str, path: str) -> None:
    """Copy the finished file `source` to `path`."""
    with open(source, "rb") as content, atomic_path(path) as temporary, _new_file(temporary) as file:
        shutil.copyfileobj(content, file, 2**20)


def publish_bytes(data: bytes, path: str) -> None:
    """Write `data` to `path`."""
    with atomic_path(path) as temporary, _new_file(temporary) as file:
        file.write(data)


def create_if_absent(data: bytes, path: str) -> bool:
    """Write `data` to `path` unless something is there."""
    with _temporary_beside(path) as temporary:
        with _new_file(temporary) as file:
            file.write(data)
        try:
            os.link(temporary, path)  # unlike a rename, a link fails where the name is taken
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            message = (
                f"the disk of {path} has no hard links, without which two writers cannot be told apart; move the root"
            )
            raise StorageError(errno.ENOTSUP, message) from error
    return True


def copy(source: str, path: str) -> None:
    """Make a hard link where the disk allows one, a copy of the bytes otherwise."""
    try:
        with atomic_path(path) as temporary:
            os.link(source, temporary)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        publish(source, path)


def delete(path: str) -> None:
    """Remove the file, if it is there, and its folder with the last file, as a prefix ends with its last object."""
    Path(path).unlink(missing_ok=True)
    with suppress(OSError):  # not empty, a mount, or gone
        Path(path).parent.rmdir()


def free_bytes(path: str) -> int:
    """Free bytes on the disk of `path`, or of the nearest folder above it that exists."""
    return shutil.disk_usage(_nearest_existing(path)).free


def require_writable(path: str) -> None:
    """Create a file in the folder `path`, or in the nearest one above it that exists, and remove it again.

    Only this tells whether one can: a superuser has permission for everything, but not on a read-only disk.
    """
    folder = _nearest_existing(path)
    if not folder.is_dir():
        raise AccessDeniedError(f"{folder} is a file, not a folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise AccessDeniedError(f"no file can be created in {folder}: {error.strerror}") from error


def _nearest_existing(path: str) -> Path:
    nearest = Path(path)
    while not nearest.exists():
        nearest = nearest.parent
    return nearest


@contextmanager
def atomic_path(path: str) -> Iterator[str]:
    """A temporary path to create a file at, which replaces `path` at the end of the block.

    If the block raises, the temporary file is removed and `path` stays as it was.
    """
    with _temporary_beside(path) as temporary:
        _make_folder(os.path.dirname(path))
        yield temporary
        os.replace(temporary, path)


@contextmanager
def _temporary_beside(path: str) -> Iterator[str]:
    """A temporary path in the folder of `path`, so that a rename stays on one disk; its file is removed at the end."""
    temporary = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}.partial")
    try:
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


@contextmanager
def _new_file(path: str) -> Iterator[BinaryIO]:
    """A new file, which is on the disk at the end of the block: a name must not reach it before its content."""
    with _create(path) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _make_folder(folder: str) -> None:
    """Create a folder, which another process may remove just when `makedirs` looks whether what is there is one."""
    for _ in range(_ATTEMPTS):
        with suppress(FileExistsError):
            os.makedirs(folder, exist_ok=True)
            return
    os.makedirs(folder, exist_ok=True)


def _create(path: str) -> BinaryIO:
    """Create a file and its folder, which another process removes when it deletes the last file in it."""
    for _ in range(_ATTEMPTS):
        with suppress(FileNotFoundError, FileExistsError):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            return open(path, "xb")
    return open(path, "xb")


@contextmanager
def translate_errors(path: str, size: int = 0) -> Iterator[None]:
    """Turn an OSError into a StorageError that names the file and what to do about it, in one line.

    Args:
        path: of the file.
        size: bytes that were to be written, for the message of a full disk.
    """
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise FileMissingError(f"there is no file {path}") from error
    except IsADirectoryError as error:
        raise IsFolderError(f"{path} is a folder where a file is needed") from error
    except (NotADirectoryError, FileExistsError) as error:
        file = next((folder for folder in Path(path).parents if folder.is_file()), path)
        raise NotAFolderError(f"{path} lies below {file}, which is a file and not a folder") from error
    except PermissionError as error:
        raise AccessDeniedError(f"no permission for {error.filename or path}: check its owner and mode") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(error.errno, error.strerror or str(error), error.filename or path) from error
        free = free_bytes(path)
        message = (
            f"no space left for {path}: {size} bytes were to be written, {free} are free; make room or move the root"
        )
        raise NoSpaceError(error.errno, message) from error
