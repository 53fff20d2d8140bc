"""Temporary folders that are found and removed even when the process that made them was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "iaca-shard-"
MIN_AGE_S = 60.0  # a younger folder may not have its lock yet


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder, removed at the end; the kernel drops its lock even when the process is killed."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        lock = os.open(name, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(lock)


def remove_abandoned() -> list[Path]:
    """Remove the folders whose process is gone: they hold crops of faces that nobody else would delete."""
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY)
        except OSError:
            continue  # just removed, or another user's
        try:
            if time.time() - os.fstat(lock).st_mtime < MIN_AGE_S:
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
        except BlockingIOError:
            continue  # at work
        finally:
            os.close(lock)
    return removed
