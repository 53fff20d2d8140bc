"""The source within a job: listed with a line of progress each second, since reading new files can take minutes."""

from __future__ import annotations

from time import monotonic

from pipeline.config import Config
from pipeline.dataset.sources.identical import KnownGroups
from pipeline.dataset.sources.listing import Listing, list_videos
from pipeline.runtime.progress import Progress, emit

INTERVAL_S = 1.0  # between two lines; a reading that takes less shows none


def list_source_videos(config: Config, known_groups: KnownGroups | None = None) -> Listing:
    """`list_videos`, which shows how many of the new files are read; those that it knows from before are not."""
    return list_videos(config, known_groups, ReadingProgress())


class ReadingProgress:
    """Shows how many files are read: a line each second, and the last one where there was another."""

    def __init__(self) -> None:
        self.last_s = monotonic()
        self.unit_shown = ""

    def __call__(self, unit: str, num_done: int, num_all: int) -> None:
        """Take the number of files of one kind that are read, of all of this kind that have to be."""
        now_s = monotonic()
        ends = num_done == num_all and self.unit_shown == unit
        if ends or now_s - self.last_s >= INTERVAL_S:
            self.last_s, self.unit_shown = now_s, unit
            emit(Progress("list", num_done, num_all, unit))
