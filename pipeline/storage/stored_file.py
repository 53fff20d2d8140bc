"""The description of one stored file, as a listing gives it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One stored file."""

    uri: str
    size_bytes: int
    version: str  # changes when the content is replaced: the modification time in ns, or the ETag
