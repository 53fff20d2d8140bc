"""New versions of a dataset: extended to the source as it is now, or with its rejected videos tried once more."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from pipeline import storage
from pipeline.config import Config, UsageError, fingerprint
from pipeline.dataset.build import versions
from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.build.merge import merge_spans
from pipeline.dataset.build.versions import SourceDifference
from pipeline.dataset.format import shards
from pipeline.dataset.format.dataset_info import (
    DatasetInfo,
    read_dataset,
    read_unused,
    read_videos,
    require_complete,
)
from pipeline.dataset.plan.assign_splits import assign_splits, require_scanned
from pipeline.dataset.plan.check_splits import require_trainable, require_trainable_if_readable, split_warnings
from pipeline.dataset.plan.forecast import forecast, plan_text
from pipeline.dataset.plan.scan_cache import ScanCache
from pipeline.dataset.plan.shard_plan import ScanResult, plan_shards, usable_s
from pipeline.dataset.sources.content_id import delete_cached
from pipeline.dataset.sources.listing import Listing
from pipeline.dataset.sources.source_warnings import source_warnings
from pipeline.jobs.build_dataset import BuildTarget, build_dataset, build_shards, built_warnings
from pipeline.jobs.build_missing import committed_at, require_space
from pipeline.jobs.list_source import list_source_videos
from pipeline.jobs.scan_videos import scan_videos
from pipeline.jobs.workers.pool import WorkerPool
from pipeline.records import ShardPlan, ShardRecord, Video, VideoRow
from pipeline.records.quantities import count_text
from pipeline.runtime.progress import JobResult, emit_notices

SUPERSEDED = "superseded.json"  # beside a dataset whose rejected videos were tried again: where the result is


@dataclass(frozen=True, slots=True)
class _Parent:
    """The dataset that a new version is made from."""

    info: DatasetInfo
    records: list[ShardRecord]
    listing: Listing  # of the source as it is now
    difference: SourceDifference


@dataclass(frozen=True, slots=True)
class Extension:
    """A new version of a dataset that is to be built for the source as it is now."""

    target: BuildTarget
    parent: _Parent


def prepare_extension(config: Config, toolchain: dict[str, str]) -> JobResult | Extension:
    """Compare `config.preprocess.extend` with the source as it is now; the result where its new version is complete.

    Raises:
        UsageError: the settings are not the parent's, the source has nothing in common with it, or
            `preprocess.require_trainable` is set and the new version could not be trained on.
    """
    begin = perf_counter()
    parent = _read_parent(config)
    difference = parent.difference
    if config.preprocess.require_trainable and not config.preprocess.dry_run:
        lengths_s = _lengths_s(parent, {}, config)
        rejected = {key for key in difference.kept if not lengths_s[key]}  # of those that changed nothing is known
        streams = [*difference.kept.values(), *difference.added]
        require_trainable_if_readable(streams, parent.listing.unused, config, rejected)
    name = f"{config.name}-{difference.fingerprint(parent.info, config, toolchain)}"
    uri = storage.join(config.storage.root, "datasets", name)
    unchanged = not difference.added and not difference.removed
    if committed := parent.info if unchanged else committed_at(uri):
        if not config.preprocess.dry_run:  # the run that committed it may have been killed before it came to this
            _delete_removed_from_caches(parent, config, toolchain)
        warnings = (
            *versions.splits_kept_warnings(difference, parent.info),
            *built_warnings(committed, config, parent.listing),
        )
        seconds = perf_counter() - begin
        return JobResult("preprocess", committed.uri, True, seconds, committed.counts, warnings=warnings)
    return Extension(BuildTarget(uri, config, toolchain), parent)


def _read_parent(config: Config) -> _Parent:
    if config.preprocess.limit:
        raise UsageError(
            f"--extend would remove all but the first {count_text(config.preprocess.limit, 'video')}; leave --limit out"
        )
    info = read_dataset(config.preprocess.extend)
    require_complete(info)
    versions.require_same_settings(config, info)
    records = versions.read_records(info)
    listing = list_source_videos(config, versions.known_groups(records))
    difference = versions.compare_with_source(records, listing.videos)
    if not difference.kept:
        raise UsageError(
            f"none of the videos of {info.uri} is under source.videos {config.source.videos}; --extend takes the "
            "whole source as it is now, with what is new and without what is to be removed"
        )
    return _Parent(info, records, listing, difference)


def extend(extension: Extension, pool: WorkerPool, begin: float) -> JobResult:
    """Make the new version.

    Streams that are no longer there leave no byte behind in the new version; those that changed are built anew.

    Args:
        extension: what is to be built.
        pool: builds it.
        begin: when the job began, by `perf_counter`.
    """
    target, parent = extension.target, extension.parent
    config, uri, difference, listing = target.config, target.uri, parent.difference, parent.listing
    scans = scan_videos(difference.added, config, target.toolchain, pool)
    streams = [*difference.kept.values(), *difference.added]
    require_scanned(streams, scans, config.splits)
    lengths_s = _lengths_s(parent, scans, config)
    streams = assign_splits(streams, lengths_s, config.splits)
    added = [video for video in streams if video.key in scans]
    plans = versions.renumber_after(plan_shards(added, scans, config), parent.records)
    expected = forecast(added, scans, config)
    kept = count_text(len(difference.kept), "video")
    about = f"{kept} kept, {len(difference.added)} new or changed, {len(difference.removed)} gone"
    lines = (f"a new version of {parent.info.name}: {about}", *plan_text(plans, listing.unused, expected))
    splits_kept = versions.splits_kept_warnings(difference, parent.info)
    warnings = (
        *splits_kept,
        *split_warnings(streams, lengths_s, config),
        *source_warnings(streams, listing.unused),
    )
    if config.preprocess.dry_run:
        counts = {"videos": len(listing.videos), "shards": len(plans), "mb": expected.bytes / 1e6}
        return JobResult("preprocess", uri, False, perf_counter() - begin, counts, lines, warnings)
    print("\n".join(lines), flush=True)
    emit_notices(warnings)
    if config.preprocess.require_trainable:
        require_trainable(streams, lengths_s, config)
    require_space(uri, expected.bytes)
    reused = versions.reuse_shards(parent.records, difference.removed, parent.info, uri)
    provenance = _provenance(parent, reused)
    listed = read_unused(parent.info.uri)
    unused = versions.unused_to_keep(listing.unused, listed, _gone(parent), provenance["withdrawn"])
    info = build_dataset(target, plans, pool, reused, provenance, unused)
    _delete_removed_from_caches(parent, config, target.toolchain)
    still_there = f"{parent.info.uri} still holds what was removed: delete it when it is no longer used"
    lines = (still_there,) if difference.removed else ()
    warnings = (*splits_kept, *built_warnings(info, config, listing))
    return JobResult("preprocess", uri, False, perf_counter() - begin, info.counts, lines, warnings)


def _lengths_s(parent: _Parent, scans: Mapping[str, ScanResult], config: Config) -> dict[str, float]:
    """How long all streams are: those that were scanned by their files, those that are kept as they were decoded."""
    rows = merge_spans(row for record in parent.records for row in record.videos)
    kept_s = {versions.stream_key_of(row): row.covered_s if row.status == "ok" else 0.0 for row in rows}
    return kept_s | {key: usable_s(scan, config) for key, scan in scans.items()}


def _provenance(parent: _Parent, reused: Sequence[ShardRecord]) -> dict[str, Any]:
    difference = parent.difference
    unchanged = {record.sha256 for record in reused} & {shard.sha256 for shard in parent.info.shards}
    return {
        **_parent_provenance(parent.info),
        "added": len(difference.added),
        "removed": len(difference.removed),
        "withdrawn": versions.withdrawn_before(parent.info) + len(_gone(parent)),
        "splits_kept": difference.splits_kept,
        "shards_kept": len(unchanged),
    }


def _parent_provenance(parent: DatasetInfo) -> dict[str, Any]:
    return {
        "parent": parent.name,
        "parent_uri": parent.uri,
        "parent_digest": parent.digest,
        "withdrawn": versions.withdrawn_before(parent),
    }


def _removed(parent: _Parent) -> list[Video]:
    """The streams of the parent that were withdrawn or changed."""
    videos = {span.video.key: span.video for record in parent.records for span in record.spans}
    return [videos[key] for key in sorted(parent.difference.removed)]


def _gone(parent: _Parent) -> list[Video]:
    """The streams of the parent that the source no longer has."""
    changed = {video.key for video in parent.difference.added}
    return [video for video in _removed(parent) if video.key not in changed]


def _delete_removed_from_caches(parent: _Parent, config: Config, toolchain: dict[str, str]) -> None:
    """Delete what the caches hold about videos that were withdrawn or changed."""
    removed = _removed(parent)
    scans = ScanCache(config, toolchain)
    for video in removed:
        scans.delete(video.content_id)
    scans.save()
    present = {uri for video in parent.difference.added for uri in _files_of(video)}
    gone = {uri for video in removed for uri in _files_of(video)} - present
    delete_cached(gone, config.storage.root)


def _files_of(video: Video) -> tuple[str, str, str]:
    return video.uri, video.labels_uri, video.arousal_uri


def newest(uri: str) -> str:
    """The version that superseded the dataset at `uri`; `uri` itself when none did."""
    while storage.exists(pointer := storage.join(uri, SUPERSEDED)):
        uri = storage.join(uri.rpartition("/")[0], json.loads(storage.read_text(pointer))["by"])
    return uri


def retry_rejected(committed: BuildTarget, parent: DatasetInfo, listing: Listing, pool: WorkerPool) -> JobResult:
    """Build the shards that hold rejected videos once more, into a new version if the outcome differs.

    The other shards are linked or copied. From then on the new version is what the same configuration finds.

    Args:
        committed: how the dataset would be built.
        parent: that dataset.
        listing: of the source as it is now.
        pool: builds the shards.
    """
    begin = perf_counter()
    config, toolchain = committed.config, committed.toolchain
    records = versions.read_records(parent)
    retried = [record for record in records if _rejected(record)]
    if not retried:
        line = f"{parent.uri} has no rejected videos: nothing to do"
        warnings = built_warnings(parent, config, listing)
        return JobResult("preprocess", parent.uri, True, perf_counter() - begin, parent.counts, (line,), warnings)
    others = [record for record in records if not _rejected(record)]
    num_rejected = sum(len(_rejected(record)) for record in retried)
    about = f"{count_text(num_rejected, 'rejected video or span', 'rejected videos or spans')} tried again"
    print(f"{about}, in {len(retried)} of {count_text(len(records), 'shard')}", flush=True)
    name = f"{config.name}-{fingerprint('retry', parent.name, parent.digest, toolchain)}"
    target = BuildTarget(storage.join(config.storage.root, "datasets", name), config, toolchain)
    plans = [ShardPlan(record.name, record.name.rpartition("-")[0], record.spans) for record in retried]
    built = build_shards(target, plans, pool, others)
    if _outcomes(built) == _outcomes(retried):
        for entry in storage.list_files(target.uri):
            storage.delete(entry.uri)
        unchanged = f"nothing changed: {num_rejected} are rejected as before"
        warnings = built_warnings(parent, config, listing)
        lines = (unchanged,)
        return JobResult("preprocess", parent.uri, False, perf_counter() - begin, parent.counts, lines, warnings)
    provenance = {**_parent_provenance(parent), "retried": num_rejected}
    info = _commit_retried(target, parent, built, others, provenance)
    warnings = built_warnings(info, config, listing)
    return JobResult("preprocess", target.uri, False, perf_counter() - begin, info.counts, warnings=warnings)


def _commit_retried(
    target: BuildTarget,
    parent: DatasetInfo,
    built: Sequence[ShardRecord],
    others: Sequence[ShardRecord],
    provenance: dict[str, Any],
) -> DatasetInfo:
    """Commit the new version, then write beside the parent that it supersedes it."""
    reused = versions.reuse_shards(others, (), parent, target.uri)
    before = {versions.stream_key_of(row): row.attempts for row in read_videos(parent.uri)}
    counted = [_with_attempts(record, before) for record in built]
    unused = read_unused(parent.uri)
    info = commit_dataset(target.uri, target.config, [*reused, *counted], target.toolchain, provenance, unused=unused)
    pointer = json.dumps({"by": info.name}).encode()
    storage.create_if_absent(pointer, storage.join(parent.uri, SUPERSEDED))
    return info


def retry_unfinished(uri: str) -> None:
    """Delete the sidecars of shards with rejected videos of a build that was never committed: they are built again."""
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
    rows = (replace(row, attempts=row.attempts + before[versions.stream_key_of(row)]) for row in record.videos)
    return replace(record, videos=tuple(rows))
