"""Temporary folders that are found and removed even when the process that made them was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NEW, _LOCKED = "iaca-new-", "iaca-shard-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder, removed at the end; the kernel drops its lock even when the process is killed."""
    new = Path(tempfile.mkdtemp(prefix=_NEW))
    lock = os.open(new, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = new.rename(new.with_name(new.name.replace(_NEW, _LOCKED)))  # visible to others only with its lock
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_abandoned() -> list[Path]:
    """Remove the folders whose process is gone: they hold crops of faces, and no other process deletes them."""
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{_LOCKED}*"):
        try:
            lock = os.open(folder, os.O_RDONLY)
        except OSError:
            continue  # just removed, or another user's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
        except BlockingIOError:
            continue  # its process is running
        finally:
            os.close(lock)
    return removed
