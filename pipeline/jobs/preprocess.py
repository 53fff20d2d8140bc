"""The preprocessing job: raw videos to a committed dataset of shards, with Ray Data."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from pipeline import storage
from pipeline.config import Config, UsageError, dataset_fingerprint, require_detector
from pipeline.config.uris import absolute
from pipeline.dataset.format.dataset_info import DatasetInfo
from pipeline.dataset.plan.assign_splits import assign_splits, require_scanned
from pipeline.dataset.plan.check_splits import require_trainable, require_trainable_if_readable, split_warnings
from pipeline.dataset.plan.forecast import forecast, plan_text
from pipeline.dataset.plan.shard_plan import plan_shards, usable_s
from pipeline.dataset.sources.listing import Listing
from pipeline.dataset.sources.source_warnings import source_warnings
from pipeline.jobs import new_version
from pipeline.jobs.build_dataset import BuildTarget, build_dataset, built_warnings
from pipeline.jobs.build_missing import committed_at, require_space
from pipeline.jobs.list_source import list_source_videos
from pipeline.jobs.new_version import Extension
from pipeline.jobs.scan_videos import scan_videos
from pipeline.jobs.workers.pool import WorkerPool
from pipeline.jobs.workers.shard_builder import find_toolchain
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult, emit_notices


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """A dataset that is to be built."""

    target: BuildTarget
    listing: Listing
    committed: DatasetInfo | None  # the one whose rejected videos are to be tried again


def prepare(config: Config) -> JobResult | _Unfinished | Extension:
    """List the source and check that it can be used, without Ray; the result where its dataset is complete.

    Raises:
        UsageError: ffmpeg, the source, the labels' folder or the manifest cannot be used as given, two options exclude
            each other, or a dataset cannot be extended to the source.
    """
    begin = perf_counter()
    config = require_detector(config)
    _check_exclusive_options(config)
    config = absolute(config)
    toolchain = find_toolchain(config)
    if config.preprocess.extend:
        return new_version.prepare_extension(config, toolchain)
    listing = list_source_videos(config)
    if config.preprocess.require_trainable and not config.preprocess.dry_run:
        require_trainable_if_readable(listing.videos, listing.unused, config)
    name = f"{config.name}-{dataset_fingerprint(config, listing.content_ids, toolchain)}"
    uri = new_version.newest(storage.join(config.storage.root, "datasets", name))
    committed = committed_at(uri)
    if committed and not config.preprocess.retry_rejected:
        warnings = built_warnings(committed, config, listing)
        return JobResult("preprocess", uri, True, perf_counter() - begin, committed.counts, warnings=warnings)
    return _Unfinished(BuildTarget(uri, config, toolchain), listing, committed)


def run(config: Config) -> JobResult:
    """Build the dataset of `config.source` below `config.storage.root`, unless it is there already.

    With `preprocess.extend` it is a new version of that dataset, with `preprocess.retry_rejected` one of the dataset
    that is there already.

    Raises:
        UsageError: see `prepare`; or the detector's model cannot be used, or there is too little space.
        DatasetError: more videos were rejected than `shards.max_rejected_fraction` allows.
        RuntimeError: balanced splits depend on a file that could not be scanned now.
    """
    begin = perf_counter()
    prepared = prepare(config)
    if isinstance(prepared, JobResult):
        return prepared
    with WorkerPool(config) as pool:
        if isinstance(prepared, Extension):
            return new_version.extend(prepared, pool, begin)
        target = prepared.target
        if prepared.committed:
            return new_version.retry_rejected(target, prepared.committed, prepared.listing, pool)
        if config.preprocess.retry_rejected:
            new_version.retry_unfinished(target.uri)
        return _build(target, prepared.listing, pool, begin)


def _build(target: BuildTarget, listing: Listing, pool: WorkerPool, begin: float) -> JobResult:
    config = target.config
    scans = scan_videos(listing.videos, config, target.toolchain, pool)
    require_scanned(listing.videos, scans, config.splits)
    lengths_s = {key: usable_s(scan, config) for key, scan in scans.items()}
    videos = assign_splits(listing.videos, lengths_s, config.splits)
    plans = plan_shards(videos, scans, config)
    expected = forecast(videos, scans, config)
    warnings = (*split_warnings(videos, lengths_s, config), *source_warnings(videos, listing.unused))
    lines = plan_text(plans, listing.unused, expected)
    if config.preprocess.dry_run:
        counts = {"videos": len(videos), "shards": len(plans), "mb": expected.bytes / 1e6}
        return JobResult("preprocess", target.uri, False, perf_counter() - begin, counts, lines, warnings)
    print("\n".join(lines), flush=True)
    emit_notices(warnings)  # now, as the closing summary may be hours away
    if config.preprocess.require_trainable:
        require_trainable(videos, lengths_s, config)
    require_space(target.uri, expected.bytes)
    info = build_dataset(target, plans, pool, unused=listing.unused)
    warnings = built_warnings(info, config, listing)
    return JobResult("preprocess", target.uri, False, perf_counter() - begin, info.counts, warnings=warnings)


def _check_exclusive_options(config: Config) -> None:
    """Raise UsageError when --retry-rejected comes with an option that it would have to ignore."""
    for name in ("extend", "dry_run"):
        if config.preprocess.retry_rejected and getattr(config.preprocess, name):
            option = name.replace("_", "-")
            raise UsageError(f"--retry-rejected builds what is rejected in a dataset again; leave --{option} out")


if __name__ == "__main__":
    job_process.main("preprocess", run, prepare)
