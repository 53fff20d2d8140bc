"""The one door to storage: files in a local folder or an S3 bucket, named by URI.

A URI is a local path, `file:///path` or `s3://bucket/key`. Everything written here is complete or absent: a reader
never sees half a file under its final name. Keys and endpoint of S3 come from the environment alone
(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_PROFILE, ...); they are in no URI and no configuration.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pipeline.storage import local, s3
from pipeline.storage.backend import Backend
from pipeline.storage.errors import (
    AccessDeniedError,
    FileMissingError,
    IsFolderError,
    NoSpaceError,
    NotAFolderError,
    StorageError,
    StorageTimeoutError,
    UnreachableError,
)
from pipeline.storage.stored_file import StoredFile

if TYPE_CHECKING:
    import pyarrow.fs

__all__ = [
    "AccessDeniedError",
    "FileMissingError",
    "IsFolderError",
    "NoSpaceError",
    "NotAFolderError",
    "StorageError",
    "StorageTimeoutError",
    "StoredFile",
    "UnreachableError",
    "arrow_filesystem",
    "copy",
    "create_if_absent",
    "delete",
    "exists",
    "free_bytes",
    "is_local",
    "join",
    "list_files",
    "local_copy",
    "normalise",
    "publish",
    "publish_bytes",
    "read_bytes",
    "read_text",
    "require_writable",
    "stat",
]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):/")
_NAME_CHARS = 60  # at most 240 bytes, and file systems allow 255
_ALLOWED = "allowed are a local path, file:///path and s3://bucket/prefix"


def is_local(uri: str) -> bool:
    """Whether `uri` names a file or folder of this machine; ValueError for a scheme we do not know."""
    match = _SCHEME.match(uri)
    scheme = match[1] if match else "file"
    if not uri or scheme not in ("file", "s3") or (match and not uri.startswith(f"{scheme}://")):
        raise ValueError(f"cannot use {uri!r} as a URI of files: {_ALLOWED}")
    return scheme == "file"


def normalise(uri: str) -> str:
    """The one spelling of `uri`: an absolute path without `file://`, or s3://bucket/key; no slash at the end."""
    if not is_local(uri):
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise ValueError(f"{uri!r} names no bucket: {_ALLOWED}")
        return f"s3://{bucket}/{key}".rstrip("/")
    if not uri.startswith("file://"):
        return _absolute(os.path.expanduser(uri))
    host, slash, path = uri.removeprefix("file://").partition("/")
    if host not in ("", "localhost"):
        raise ValueError(f"{uri!r} names the host {host!r}: a file of this machine is file:///path")
    return _absolute(unquote(slash + path))


def _absolute(path: str) -> str:
    absolute = os.path.abspath(path)
    return absolute[1:] if absolute.startswith("//") else absolute  # POSIX keeps two leading slashes, we do not


def join(uri: str, *parts: str) -> str:
    """`uri` with `parts` below it; a part may hold slashes, but none may climb out with `..`."""
    names = [name for part in parts for name in part.split("/") if name not in ("", ".")]
    if ".." in names:
        raise ValueError(f"cannot join {'/'.join(parts)!r} to {uri!r}: '..' would lead out of it")
    return "/".join([normalise(uri).rstrip("/"), *names])


def exists(uri: str) -> bool:
    """Whether there is a file or a folder (on S3: any key below the prefix) at `uri`."""
    backend, path = _backend(uri)
    with backend.translate_errors(path):
        return backend.exists(path)


def stat(uri: str) -> StoredFile:
    """Size and version of the file at `uri`.

    Raises:
        FileMissingError: there is no file.
        IsFolderError: it is a folder.
    """
    backend, path = _backend(uri)
    with backend.translate_errors(path):
        return backend.stat(path)


def list_files(uri: str) -> list[StoredFile]:
    """Every file below `uri`, sorted by URI; empty when there is nothing; a file lists itself.

    Symbolic links are followed (each folder once), a dangling one is listed with size 0. Files that are still being
    published are left out, and so are pipes and devices.
    """
    backend, path = _backend(uri)
    with backend.translate_errors(path):
        return sorted(backend.list_files(path), key=lambda file: file.uri)


def read_bytes(uri: str, start: int = 0, size: int | None = None) -> bytes:
    """`size` bytes from `start` on (the rest when None); fewer, down to none, where the file ends before."""
    if start < 0 or (size is not None and size < 0):
        raise ValueError(f"cannot read {uri} from byte {start}, {size} bytes: neither may be negative")
    backend, path = _backend(uri)
    with backend.translate_errors(path):
        return backend.read_bytes(path, start, size)


def read_text(uri: str) -> str:
    """The file at `uri` as UTF-8 text."""
    return read_bytes(uri).decode()


def publish(local_path: str | os.PathLike[str], uri: str) -> None:
    """Copy the finished file `local_path` to `uri`, replacing what is there; readers see the old file or the new one.

    Raises:
        StorageError: the copy failed and nothing changed at `uri`; a full disk names the path and the bytes.
    """
    if not os.path.isfile(local_path):
        raise FileMissingError(f"cannot publish {os.fspath(local_path)} to {uri}: it is not a file")
    backend, path = _backend(uri)
    with backend.translate_errors(path, os.path.getsize(local_path)):
        backend.publish(os.fspath(local_path), path)


def publish_bytes(data: bytes, uri: str) -> None:
    """Like `publish`, for content held in memory."""
    backend, path = _backend(uri)
    with backend.translate_errors(path, len(data)):
        backend.publish_bytes(data, path)


def create_if_absent(data: bytes, uri: str) -> bool:
    """Write `data` to `uri` unless something is there: True when this call wrote it, False when it was there before.

    Of any number of racing callers at most one gets True. If the server's response to a write is lost on the network,
    the caller may get False for its own write; a caller to whom that matters compares the content.
    """
    backend, path = _backend(uri)
    with backend.translate_errors(path, len(data)):
        return backend.create_if_absent(data, path)


def copy(source_uri: str, uri: str) -> None:
    """Publish the file at `source_uri` as `uri` too: a hard link on one disk, a server-side copy within S3.

    A copy may share its bytes with the source, so neither may be changed in place; `publish` never does that.
    """
    source_backend, source = _backend(source_uri)
    backend, path = _backend(uri)
    if source_backend is backend:
        stat(source_uri)  # so that an error from here on is about the target
        with backend.translate_errors(path):
            backend.copy(source, path)
    elif is_local(source_uri):
        publish(source, uri)
    else:
        _download(source, path)


def delete(uri: str) -> None:
    """Remove the file at `uri`; nothing there is fine."""
    backend, path = _backend(uri)
    with backend.translate_errors(path):
        backend.delete(path)


def local_copy(uri: str, directory: str | os.PathLike[str]) -> Path:
    """A local path with the content of `uri`: the file itself, or its download in `directory`.

    A download has the name of its object, or the end of it: keys may be longer than a file's name.
    """
    if is_local(uri):
        return Path(stat(uri).uri)
    _, path = _backend(uri)
    digest = hashlib.sha256(path.encode()).hexdigest()[:12]  # two keys of one name are two files
    target = Path(directory).absolute() / digest / path.rsplit("/", 1)[1][-_NAME_CHARS:]
    _download(path, str(target))
    return target


def _download(path: str, local_path: str) -> None:
    """Download the object `path`; errors are about the object while it is read, and about the file otherwise."""
    with local.translate_errors(local_path), local.atomic_path(local_path) as temporary, s3.translate_errors(path):
        s3.download(path, temporary)


def free_bytes(uri: str) -> int | None:
    """Bytes that can still be written at `uri`, existing or not; None on S3, which has no such figure."""
    return local.free_bytes(normalise(uri)) if is_local(uri) else None


def require_writable(uri: str) -> None:
    """Raise an AccessDeniedError unless files can be created at or below `uri`, existing or not.

    S3 is not asked: each object has its own permission, which only its writing shows.
    """
    if is_local(uri):
        path = normalise(uri)
        with local.translate_errors(path):
            local.require_writable(path)


def arrow_filesystem(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """A pyarrow filesystem and the path of `uri` in it, for libraries that bring their own writing (Ray Train)."""
    import pyarrow.fs

    if is_local(uri):
        return pyarrow.fs.LocalFileSystem(), normalise(uri)
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(s3.filesystem())), _backend(uri)[1]


def _backend(uri: str) -> tuple[Backend, str]:
    """The backend that stores `uri`, and the path that it has there."""
    return (local if is_local(uri) else s3), normalise(uri).removeprefix("s3://")
