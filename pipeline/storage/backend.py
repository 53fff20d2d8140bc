"""The functions that each backend of storage has: the modules `local` and `s3`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from pipeline.storage.stored_file import StoredFile


class Backend(Protocol):
    """A place for files; a path is a local one, or bucket/key."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder."""

    def stat(self, path: str) -> StoredFile:
        """Describe the file."""

    def list_files(self, path: str) -> Iterable[StoredFile]:
        """Describe every file below `path`, in any order; a file lists itself."""

    def read_bytes(self, path: str, start: int, size: int | None) -> bytes:
        """Read a range of the file; None: up to its end."""

    def publish(self, source: str, path: str) -> None:
        """Write the content of the local file `source`, complete or not at all."""

    def publish_bytes(self, data: bytes, path: str) -> None:
        """Write `data`, complete or not at all."""

    def create_if_absent(self, data: bytes, path: str) -> bool:
        """Write `data` unless there is a file; whether it was written."""

    def copy(self, source: str, path: str) -> None:
        """Copy a file within the backend."""

    def delete(self, path: str) -> None:
        """Remove the file, if it is there."""

    def translate_errors(self, path: str, size: int = 0) -> AbstractContextManager[None]:
        """Turn the errors of a block into StorageErrors that name the file; `size` is what was to be written."""
