"""The preprocessing job: raw videos to a committed dataset of shards, with Ray Data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import perf_counter

from pipeline import storage
from pipeline.config import Config, UsageError, dataset_fingerprint, require_detector
from pipeline.dataset import shards
from pipeline.dataset.card import outcome_lines
from pipeline.dataset.forecast import Forecast, forecast, plan_text
from pipeline.dataset.merge import merge_spans
from pipeline.dataset.plan import digest, plan_shards
from pipeline.dataset.sources import Listing, list_videos
from pipeline.jobs import entry
from pipeline.jobs.builder import find_toolchain
from pipeline.jobs.pool import build_shards, facts_of, ray_session
from pipeline.progress import JobResult, Progress, emit
from pipeline.records import ShardPlan, ShardRecord

SPACE_MARGIN = 1.2  # of the estimate must be free
NUM_READERS = 8  # of finished shards whose bytes are compared with their records


def run(config: Config) -> JobResult:
    """Build the dataset of `config.source` below `config.storage.root`, or find it there.

    Raises:
        UsageError: the source, the labels' folder, the manifest or the detector's model cannot be used as given, or
            there is too little space.
        DatasetError: more videos were rejected than `shards.max_rejected_fraction` allows.
    """
    begin = perf_counter()
    require_detector(config)
    toolchain = find_toolchain()
    config = config.model_copy(update={"faces": _absolute_model(config)})
    listing = list_videos(config)
    name = f"{config.name}-{dataset_fingerprint(config, listing.identities, toolchain)}"
    uri = storage.join(config.storage.root, "datasets", name)
    committed = _committed(uri)
    if committed:
        line = f"{uri} is complete: {len(committed.shards)} shards, nothing to do"
        return JobResult("shard", uri, True, perf_counter() - begin, committed.counts, (line,))
    with ray_session():
        facts = facts_of(listing.videos, config, toolchain)
        plans = plan_shards(listing.videos, facts, config)
        expected = forecast(listing.videos, facts, config)
        lines = plan_text(plans, listing.ignored, expected)
        print("\n".join(lines), flush=True)
        if config.dry_run:
            return _planned(uri, plans, listing, expected, lines, perf_counter() - begin)
        require_space(uri, expected.bytes)
        records = _build(plans, config, uri, toolchain)
    refuse_too_many_rejections(records, config)
    info = shards.finish_dataset(uri, config, records, toolchain)
    outcomes = outcome_lines(shards.read_videos(uri))
    return JobResult("shard", uri, False, perf_counter() - begin, info.counts, outcomes)


def _planned(
    uri: str, plans: Sequence[ShardPlan], listing: Listing, expected: Forecast, lines: tuple[str, ...], seconds: float
) -> JobResult:
    counts = {"videos": len(listing.videos), "shards": len(plans), "mb": expected.bytes / 1e6}
    return JobResult("shard", uri, False, seconds, counts, lines)


def _absolute_model(config: Config) -> object:
    uri = config.faces.model_uri
    return replace(config.faces, model_uri=storage.normalise(uri)) if uri else config.faces


def _committed(uri: str) -> shards.DatasetInfo | None:
    """The dataset at `uri` when it is committed and its shards are there by name and size."""
    if not storage.exists(storage.join(uri, "dataset.json")):
        return None
    info = shards.read_dataset(uri)
    shards.require_complete(info)
    return info


def require_space(uri: str, expected_bytes: float) -> None:
    """Raise UsageError when the disk of `uri` cannot take what is expected."""
    free, wanted = storage.free_bytes(uri), expected_bytes * SPACE_MARGIN
    if free is not None and free < wanted:
        raise UsageError(
            f"{uri} needs about {wanted / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free there; "
            "free some space or choose another storage.root"
        )


def _build(plans: Sequence[ShardPlan], config: Config, uri: str, toolchain: dict[str, str]) -> list[ShardRecord]:
    """The records of all shards: those of an earlier, interrupted build and those built now."""
    records = finished(plans, uri)
    left = [plan for plan in plans if plan.name not in records]
    if records:
        print(f"{len(records)} of {len(plans)} shards are there from an earlier run", flush=True)
    emit(Progress("shards", len(records), len(plans), "shards"))
    try:
        for record in build_shards(left, config, uri, toolchain):
            records[record.name] = record
            emit(Progress("shards", len(records), len(plans), "shards", _note(record)))
    except KeyboardInterrupt:
        print(f"at least {len(records)} of {len(plans)} shards are finished and kept; the same command continues")
        raise
    return [records[plan.name] for plan in plans]


def finished(plans: Iterable[ShardPlan], uri: str) -> dict[str, ShardRecord]:
    """The records of those shards that an earlier build has published, by their names."""
    with ThreadPoolExecutor(NUM_READERS) as readers:
        found = readers.map(lambda plan: shards.finished_shard(uri, plan.name, digest(plan)), plans)
        return {record.name: record for record in found if record}


def _note(record: ShardRecord) -> str:
    rejected = sum(row.status == "rejected" for row in record.videos)
    return f"{record.name}: {len(record.videos)} videos, {rejected} rejected, {record.size_bytes / 1e6:.1f} MB"


def refuse_too_many_rejections(records: Sequence[ShardRecord], config: Config) -> None:
    """Raise DatasetError with the table of rejections when they are more than `shards.max_rejected_fraction`."""
    rows = merge_spans(row for record in records for row in record.videos)
    rejected = [row for row in rows if row.status == "rejected"]
    if len(rejected) > config.shards.max_rejected_fraction * len(rows):
        table = "\n".join(f"  {row.uri}: {row.stage}: {row.reason}: {row.detail}" for row in rejected)
        raise shards.DatasetError(
            f"{len(rejected)} of {len(rows)} videos were rejected; shards.max_rejected_fraction is "
            f"{config.shards.max_rejected_fraction}:\n{table}"
        )


if __name__ == "__main__":
    entry.main("shard", run)
