"""From plans to a committed dataset: finished shards are kept, the others built, and the marker is written last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.dataset.build.merge import merge_spans
from pipeline.dataset.format import shards
from pipeline.dataset.format.commit import commit_dataset
from pipeline.dataset.format.dataset_info import DatasetError, DatasetInfo, read_dataset, require_complete
from pipeline.dataset.plan.shard_plan import digest
from pipeline.jobs.workers.pool import build_shards
from pipeline.records import ShardPlan, ShardRecord, VideoRow
from pipeline.runtime.progress import Progress, emit

SPACE_MARGIN = 1.2  # of the estimate must be free
NUM_READERS = 8  # of finished shards whose bytes are compared with their records


def committed_at(uri: str) -> DatasetInfo | None:
    """The dataset at `uri` when it is committed and its shards are there by name and size."""
    if not storage.exists(storage.join(uri, "dataset.json")):
        return None
    info = read_dataset(uri)
    require_complete(info)
    return info


def require_space(uri: str, expected_bytes: float) -> None:
    """Raise UsageError when the disk of `uri` cannot take what is expected."""
    free, wanted = storage.free_bytes(uri), expected_bytes * SPACE_MARGIN
    if free is not None and free < wanted:
        raise UsageError(
            f"{uri} needs about {wanted / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free there; "
            "free some space or choose another storage.root"
        )


def make_dataset(
    plans: Sequence[ShardPlan],
    config: Config,
    uri: str,
    toolchain: dict[str, str],
    reused: Sequence[ShardRecord] = (),
    provenance: dict[str, Any] | None = None,
) -> DatasetInfo:
    """Build what is missing of the plans and commit it, with the shards that were reused from a parent.

    Raises:
        DatasetError: more videos were rejected than `shards.max_rejected_fraction` allows, or somebody else committed
            other bytes at `uri`.
    """
    records = [*reused, *build(plans, config, uri, toolchain, reused)]
    check_rejections(merge_spans(row for record in records for row in record.videos), config)
    return commit_dataset(uri, config, records, toolchain, provenance)


def build(
    plans: Sequence[ShardPlan],
    config: Config,
    uri: str,
    toolchain: dict[str, str],
    beside: Sequence[ShardRecord] = (),
) -> list[ShardRecord]:
    """The records of all shards: those of an earlier, interrupted build and those built now.

    Shards `beside` them belong to the same dataset: its videos bear the rejections together.
    """
    by_name, budget = {plan.name: plan for plan in plans}, Budget([*plans, *beside], config)

    def make(names: list[str]) -> Iterator[ShardRecord]:
        for record in build_shards([by_name[name] for name in names], config, uri, toolchain):
            yield record
            budget.spend(record)

    return completed({plan.name: digest(plan) for plan in plans}, uri, make, _note)


def completed(
    digests: Mapping[str, str],
    uri: str,
    make: Callable[[list[str]], Iterator[ShardRecord]],
    note: Callable[[ShardRecord], str],
) -> list[ShardRecord]:
    """The records of all shards of `digests`, in their order: from an earlier run, or else from `make`.

    Args:
        digests: by the name of each shard, that of what it is made of.
        uri: of the dataset.
        make: the records of the shards of these names, in any order, each as soon as it is there.
        note: what the progress says of a shard.
    """
    records, total = finished(digests, uri), len(digests)
    if records:
        print(f"{len(records)} of {total} shards are there from an earlier run", flush=True)
    emit(Progress("shards", len(records), total, "shards"))
    try:
        for record in make([name for name in digests if name not in records]):
            records[record.name] = record
            emit(Progress("shards", len(records), total, "shards", note(record)))
    except KeyboardInterrupt:
        print(f"at least {len(records)} of {total} shards are finished and kept; the same command continues")
        raise
    return [records[name] for name in digests]


class Budget:
    """Stops a build as soon as so many videos were rejected that it will fail in the end."""

    def __init__(self, plans: Sequence[ShardPlan | ShardRecord], config: Config) -> None:
        self.config, self.rejected = config, list[VideoRow]()
        self.total = len({span.video.key for plan in plans for span in plan.spans})

    def spend(self, record: ShardRecord) -> None:
        """Count the rejections of a shard; spans of long videos only tell in the end."""
        whole = {span.video.key for span in record.spans if span.start_frame == 0 and span.stop_frame == -1}
        rows = zip(record.spans, record.videos, strict=True)
        self.rejected += [row for span, row in rows if span.video.key in whole and row.status == "rejected"]
        check_rejected(self.rejected, self.total, self.config)


def finished(digests: Mapping[str, str], uri: str) -> dict[str, ShardRecord]:
    """The records of those shards that an earlier build has published, by their names.

    Args:
        digests: by the name of each shard, that of the plan it must have been made by.
        uri: of the dataset.
    """
    with ThreadPoolExecutor(NUM_READERS) as readers:
        found = readers.map(lambda name: shards.finished_shard(uri, name, digests[name]), digests)
        return {record.name: record for record in found if record}


def _note(record: ShardRecord) -> str:
    rejected = sum(row.status == "rejected" for row in record.videos)
    return f"{record.name}: {len(record.videos)} videos, {rejected} rejected, {record.size_bytes / 1e6:.1f} MB"


def check_rejections(rows: Sequence[VideoRow], config: Config) -> None:
    """Raise DatasetError with the table of rejections when they are more than `shards.max_rejected_fraction`."""
    check_rejected([row for row in rows if row.status == "rejected"], len(rows), config)


def check_rejected(rejected: Sequence[VideoRow], total: int, config: Config) -> None:
    """Raise DatasetError with the table of `rejected` when they are too many among `total` videos."""
    if len(rejected) > config.shards.max_rejected_fraction * total:
        table = "\n".join(f"  {row.uri}: {row.stage}: {row.reason}: {row.detail}" for row in rejected)
        raise DatasetError(
            f"{len(rejected)} of {total} videos were rejected; shards.max_rejected_fraction is "
            f"{config.shards.max_rejected_fraction}:\n{table}"
        )
