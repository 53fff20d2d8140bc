"""The copy of a video from a bucket that a worker keeps while it is at that video."""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from pathlib import Path

from pipeline import storage
from pipeline.storage.scratch import scratch_folder


class LastCopy:
    """Local paths of videos: a file of this machine is its own, of those in a bucket only the last one is kept.

    One is enough: spans of a file follow one another in the plan, and whoever takes shards in the order of the plan
    meets all its spans of a file in a row. So a worker downloads a file once, and at no time does it need more disk
    than the largest video takes. The copy goes with its owner; that of a killed process is found by
    `scratch.remove_abandoned`.
    """

    def __init__(self) -> None:
        self._uri, self._path = "", Path()
        self._folder = ExitStack()
        weakref.finalize(self, self._folder.close)

    def path_of(self, uri: str) -> Path:
        """A local path with the content of `uri`, good until the next call.

        Raises:
            FileNotFoundError: it is gone.
            OSError: the storage does not answer, or there is no room.
        """
        if storage.is_local(uri):
            return storage.local_copy(uri, "")
        if uri != self._uri:
            self.close()
            self._path = storage.local_copy(uri, self._folder.enter_context(scratch_folder()))
            self._uri = uri
        return self._path

    def close(self) -> None:
        """Remove the copy."""
        self._uri = ""
        self._folder.close()
