"""The local copy of a video from a bucket, kept while a worker reads that video."""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from pathlib import Path

from pipeline import storage
from pipeline.storage.scratch import scratch_folder


class DownloadCache:
    """Local paths of videos: a local file is its own path, and of those in a bucket the last download is kept.

    One download is enough: the spans of a file follow one another in the plan, so that a worker, which takes shards in
    the order of the plan, reads all its spans of a file in a row. It downloads a file once, and needs no more disk
    than the largest video takes. The download is removed with this object; `scratch.remove_abandoned` removes that of
    a process that was killed.
    """

    def __init__(self) -> None:
        self._uri, self._path = "", Path()
        self._folder = ExitStack()
        weakref.finalize(self, self._folder.close)

    def local_path(self, uri: str) -> Path:
        """A local path with the content of `uri`, valid until the next call.

        Raises:
            FileMissingError: the file is gone.
            StorageError: the storage does not answer, or there is no room.
        """
        if storage.is_local(uri):
            return storage.local_copy(uri, "")
        if uri != self._uri:
            self.close()
            self._path = storage.local_copy(uri, self._folder.enter_context(scratch_folder()))
            self._uri = uri
        return self._path

    def close(self) -> None:
        """Remove the download."""
        self._uri = ""
        self._folder.close()
