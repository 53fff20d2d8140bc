"""New versions of a dataset: extended to the source as it is now, or with its rejected videos tried once more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from pipeline import storage
from pipeline.config import Config, UsageError, fingerprint
from pipeline.dataset.build import versions
from pipeline.dataset.build.versions import Difference
from pipeline.dataset.format import shards
from pipeline.dataset.format.shards import DatasetInfo
from pipeline.dataset.plan.forecast import forecast, plan_text
from pipeline.dataset.plan.scan_cache import ScanCache
from pipeline.dataset.plan.shard_plan import plan_shards
from pipeline.dataset.report.card import outcome_lines
from pipeline.dataset.sources.content_id import forget
from pipeline.dataset.sources.listing import Listing
from pipeline.jobs.build_missing import build, committed_at, make_dataset, require_space
from pipeline.jobs.workers.pool import scan_videos
from pipeline.records import ShardPlan, ShardRecord, VideoRow
from pipeline.runtime.progress import JobResult

SUPERSEDED = "superseded.json"  # beside a dataset whose rejected videos were tried again: where the result is


def extend(config: Config, listing: Listing, toolchain: dict[str, str]) -> JobResult:
    """Make a new version of `config.preprocess.extend` for the source as it is now.

    Streams that are no longer there leave no byte behind in the new version; those that changed are built anew.

    Raises:
        UsageError: the settings are not the parent's, or the source has nothing in common with it.
    """
    begin = perf_counter()
    if config.preprocess.limit:
        raise UsageError(f"--extend would remove all but the first {config.preprocess.limit} videos; leave --limit out")
    parent = shards.read_dataset(config.preprocess.extend)
    shards.require_complete(parent)
    versions.require_same_settings(config, parent)
    records = versions.read_records(parent)
    difference = versions.compare(records, listing.videos)
    if not difference.kept:
        raise UsageError(
            f"none of the videos of {parent.uri} is under source.videos {config.source.videos}; --extend takes the "
            "whole source as it is now, with what is new and without what is to be removed"
        )
    name = f"{config.name}-{difference.fingerprint(parent, toolchain)}"
    uri = storage.join(config.storage.root, "datasets", name)
    unchanged = not difference.added and not difference.removed
    if committed := parent if unchanged else committed_at(uri):
        if not config.preprocess.dry_run:  # whoever committed it may have been killed before it came to this
            _forget_removed(records, difference, config, toolchain)
        lines = (f"{committed.uri} is complete: nothing to do", *versions.splits_kept_lines(difference, parent))
        return JobResult("preprocess", committed.uri, True, perf_counter() - begin, committed.counts, lines)
    return _extended(config, listing, toolchain, parent, records, difference, uri, begin)


def _extended(
    config: Config,
    listing: Listing,
    toolchain: dict[str, str],
    parent: DatasetInfo,
    records: Sequence[ShardRecord],
    difference: Difference,
    uri: str,
    begin: float,
) -> JobResult:
    facts = scan_videos(difference.added, config, toolchain)
    plans = versions.numbered_after(plan_shards(difference.added, facts, config), records)
    expected = forecast(difference.added, facts, config)
    about = (
        f"{len(difference.kept)} videos kept, {len(difference.added)} new or changed, {len(difference.removed)} gone"
    )
    warning = versions.splits_kept_lines(difference, parent)
    lines = (f"a new version of {parent.name}: {about}", *warning, *plan_text(plans, listing.ignored, expected))
    print("\n".join(lines), flush=True)
    if config.preprocess.dry_run:
        counts = {"videos": len(listing.videos), "shards": len(plans), "mb": expected.bytes / 1e6}
        return JobResult("preprocess", uri, False, perf_counter() - begin, counts, lines)
    require_space(uri, expected.bytes)
    reused = versions.reuse_shards(records, difference.removed, parent, uri)
    provenance = {
        **_parent(parent),
        "added": len(difference.added),
        "removed": len(difference.removed),
        "splits_kept": difference.splits_kept,
        "shards_kept": len({record.sha256 for record in reused} & {shard.sha256 for shard in parent.shards}),
    }
    info = make_dataset(plans, config, uri, toolchain, reused, provenance)
    _forget_removed(records, difference, config, toolchain)
    outcomes = (*outcome_lines(shards.read_videos(uri)), *warning)
    if difference.removed:
        outcomes += (f"{parent.uri} still holds what was removed: delete it once nobody needs it",)
    return JobResult("preprocess", uri, False, perf_counter() - begin, info.counts, outcomes)


def _parent(parent: DatasetInfo) -> dict[str, str]:
    return {"parent": parent.name, "parent_uri": parent.uri, "parent_digest": parent.digest}


def _forget_removed(
    records: Sequence[ShardRecord], difference: Difference, config: Config, toolchain: dict[str, str]
) -> None:
    """What the caches know of videos that were withdrawn, and of those that changed, goes with them."""
    memory = ScanCache(config, toolchain)
    videos = {span.video.key: span.video for record in records for span in record.spans}
    gone = [videos[key] for key in sorted(difference.removed)]
    for video in gone:
        memory.forget(video.content_id)
    memory.save()
    now = {uri for video in difference.added for uri in (video.uri, video.labels_uri, video.arousal_uri)}
    uris = {uri for video in gone for uri in (video.uri, video.labels_uri, video.arousal_uri)}
    forget(uris - now, config.storage.root)


def newest(uri: str) -> str:
    """The version that took the place of the dataset at `uri`; itself when none did."""
    while storage.exists(pointer := storage.join(uri, SUPERSEDED)):
        uri = storage.join(uri.rpartition("/")[0], json.loads(storage.read_text(pointer))["by"])
    return uri


def retry_rejected(config: Config, parent: DatasetInfo, toolchain: dict[str, str]) -> JobResult:
    """Build the shards that hold rejected videos once more, into a new version if anything came of it.

    The other shards are linked or copied. From then on the new version is what the same configuration finds.
    """
    begin = perf_counter()
    records = versions.read_records(parent)
    again = [record for record in records if _rejected(record)]
    if not again:
        line = f"{parent.uri} has no rejected videos: nothing to do"
        return JobResult("preprocess", parent.uri, True, perf_counter() - begin, parent.counts, (line,))
    name = f"{config.name}-{fingerprint('retry', parent.name, parent.digest, toolchain)}"
    uri = storage.join(config.storage.root, "datasets", name)
    plans = [ShardPlan(record.name, record.name.rpartition("-")[0], record.spans) for record in again]
    rejected = sum(len(_rejected(record)) for record in again)
    print(f"{rejected} rejected videos or spans in {len(again)} of {len(records)} shards are tried again", flush=True)
    others = [record for record in records if not _rejected(record)]
    built = build(plans, config, uri, toolchain, others)
    if _outcomes(built) == _outcomes(again):
        for entry in storage.list_files(uri):
            storage.delete(entry.uri)
        lines = (f"nothing changed: {rejected} are rejected as before", *outcome_lines(shards.read_videos(parent.uri)))
        return JobResult("preprocess", parent.uri, False, perf_counter() - begin, parent.counts, lines)
    reused = versions.reuse_shards(others, (), parent, uri)
    before = {versions.key_of(row): row.attempts for row in shards.read_videos(parent.uri)}
    counted = [_with_attempts(record, before) for record in built]
    info = shards.finish_dataset(uri, config, [*reused, *counted], toolchain, {**_parent(parent), "retried": rejected})
    storage.create_if_absent(json.dumps({"by": name}).encode(), storage.join(parent.uri, SUPERSEDED))
    outcomes = outcome_lines(shards.read_videos(uri))
    return JobResult("preprocess", uri, False, perf_counter() - begin, info.counts, outcomes)


def retry_unfinished(uri: str) -> None:
    """Forget the shards with rejected videos of a build that was never committed, so that they are built again."""
    for entry in storage.list_files(storage.join(uri, "shards")):
        if not entry.uri.endswith(".json"):
            continue
        record = shards.read_sidecar(entry.uri)
        if record is None or _rejected(record):
            storage.delete(entry.uri)


def _rejected(record: ShardRecord) -> list[VideoRow]:
    return [row for row in record.videos if row.status == "rejected"]


def _outcomes(records: Sequence[ShardRecord]) -> list[object]:
    return [
        (record.sha256, [(row.status, row.stage, row.reason, row.detail) for row in record.videos])
        for record in sorted(records, key=lambda record: record.name)
    ]


def _with_attempts(record: ShardRecord, before: dict[str, int]) -> ShardRecord:
    """The record with the attempts of earlier builds added."""
    rows = (replace(row, attempts=row.attempts + before[versions.key_of(row)]) for row in record.videos)
    return replace(record, videos=tuple(rows))
