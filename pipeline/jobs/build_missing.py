"""The loop that all jobs share which make shards: finished shards are kept, the missing ones made by the pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pipeline import storage
from pipeline.config import DATASET_MARKER, Config, UsageError
from pipeline.dataset.format import shards
from pipeline.dataset.format.dataset_info import DatasetError, DatasetInfo, read_dataset, require_complete
from pipeline.jobs.workers.pool import ActorOptions, Worker, WorkerPool
from pipeline.jobs.workers.shard_result import ShardResult
from pipeline.records import ShardPlan, ShardRecord, VideoRow
from pipeline.records.quantities import count_text
from pipeline.runtime.progress import Progress, emit

SPACE_MARGIN = 1.2  # of the estimate must be free
NUM_READERS = 8  # of finished shards whose bytes are compared with their records

_Task = TypeVar("_Task")


@dataclass(frozen=True, slots=True)
class ShardTasks(Generic[_Task]):
    """The tasks that make the shards of one dataset, and the workers that do them."""

    worker: type[Worker[_Task, ShardResult]]
    init_args: tuple[Any, ...]  # of each worker
    actor_options: ActorOptions  # for each task
    tasks: Mapping[str, _Task]  # by the name of the shard
    digests: Mapping[str, str]  # by the name of the shard: of all that its bytes depend on
    check: Callable[[], object]  # raises here, once, what would otherwise stop every worker


def build_missing(
    shard_tasks: ShardTasks[_Task], uri: str, pool: WorkerPool, budget: RejectionBudget | None = None
) -> list[ShardRecord]:
    """Make the shards that an earlier, interrupted run has not published.

    Args:
        shard_tasks: of all shards.
        uri: of the dataset.
        pool: does the tasks.
        budget: of rejections; None where the videos are known to be good.

    Returns:
        The records of all shards in the order of the tasks.

    Raises:
        RuntimeError: something that is no video's fault stopped a shard.
        DatasetError: the budget is spent.
    """
    names = list(shard_tasks.tasks)
    records = read_finished(shard_tasks.digests, uri)
    missing = [shard_tasks.tasks[name] for name in names if name not in records]
    if records:
        print(f"{len(records)} of {count_text(len(names), 'shard')} are there from an earlier run", flush=True)
    emit(Progress("shards", len(records), len(names), "shards"))
    if missing:
        shard_tasks.check()
    try:
        for result in pool.map(shard_tasks.worker, shard_tasks.init_args, missing, shard_tasks.actor_options):
            if result.record is None:
                raise RuntimeError(result.error)
            records[result.record.name] = result.record
            emit(Progress("shards", len(records), len(names), "shards", _describe(result.record)))
            if budget:
                budget.spend(result.record)
    except KeyboardInterrupt:
        finished = f"{len(records)} of {count_text(len(names), 'shard')}"
        print(f"at least {finished} are finished and kept; the same command continues")
        raise
    return [records[name] for name in names]


def read_finished(digests: Mapping[str, str], uri: str) -> dict[str, ShardRecord]:
    """Read the records of those shards that an earlier run has published, by their names.

    Args:
        digests: by the name of each shard, of all that its bytes depend on.
        uri: of the dataset.
    """
    with ThreadPoolExecutor(NUM_READERS) as readers:
        found = readers.map(lambda name: shards.finished_shard(uri, name, digests[name]), digests)
        return {record.name: record for record in found if record}


def committed_at(uri: str) -> DatasetInfo | None:
    """The dataset at `uri` when it is committed and its shards are there by name and size."""
    if not storage.exists(storage.join(uri, DATASET_MARKER)):
        return None
    info = read_dataset(uri)
    require_complete(info)
    return info


def require_space(uri: str, expected_bytes: float) -> None:
    """Raise UsageError when the disk of `uri` has too little space for what is expected."""
    free, needed = storage.free_bytes(uri), expected_bytes * SPACE_MARGIN
    if free is not None and free < needed:
        raise UsageError(
            f"{uri} needs about {needed / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free there; "
            "free some space or choose another storage.root"
        )


class RejectionBudget:
    """Stops a build as soon as so many videos were rejected that it will fail in the end.

    Args:
        shards_of_dataset: all plans, and the records of shards that are reused: their videos count as well.
        config: the experiment.
    """

    def __init__(self, shards_of_dataset: Sequence[ShardPlan | ShardRecord], config: Config) -> None:
        self.config, self.rejected = config, list[VideoRow]()
        self.num_videos = len({span.video.key for shard in shards_of_dataset for span in shard.spans})

    def spend(self, record: ShardRecord) -> None:
        """Count the rejections of a shard; those of videos with several spans count when all spans are known.

        Raises:
            DatasetError: there are more than `shards.max_rejected_fraction` allows.
        """
        for span, row in zip(record.spans, record.videos, strict=True):
            is_whole = span.start_frame == 0 and span.stop_frame == -1
            if is_whole and row.status == "rejected":
                self.rejected.append(row)
        check_rejected(self.rejected, self.num_videos, self.config)


def check_rejected(rejected: Sequence[VideoRow], num_videos: int, config: Config) -> None:
    """Raise DatasetError with the table of `rejected` when they are too many among `num_videos`."""
    if len(rejected) > config.shards.max_rejected_fraction * num_videos:
        table = "\n".join(f"  {row.uri}: {row.stage}: {row.reason}: {row.detail}" for row in rejected)
        raise DatasetError(
            f"{len(rejected)} of {count_text(num_videos, 'video')} were rejected; shards.max_rejected_fraction is "
            f"{config.shards.max_rejected_fraction}:\n{table}"
        )


def _describe(record: ShardRecord) -> str:
    num_rejected = sum(row.status == "rejected" for row in record.videos)
    megabytes = record.size_bytes / 1e6
    return f"{record.name}: {count_text(len(record.videos), 'video')}, {num_rejected} rejected, {megabytes:.1f} MB"
