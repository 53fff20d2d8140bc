"""The preprocessing job: raw videos to a committed dataset of shards, with Ray Data."""

from __future__ import annotations

from time import perf_counter

from pipeline import storage
from pipeline.config import Config, UsageError, dataset_fingerprint, require_detector
from pipeline.config.uris import absolute
from pipeline.dataset.format.dataset_info import read_videos
from pipeline.dataset.plan.forecast import forecast, plan_text
from pipeline.dataset.plan.shard_plan import plan_shards
from pipeline.dataset.report.card import outcome_lines
from pipeline.dataset.sources.listing import Listing, list_videos
from pipeline.jobs import new_version
from pipeline.jobs.build_dataset import BuildTarget, build_dataset
from pipeline.jobs.build_missing import committed_at, require_space
from pipeline.jobs.scan_videos import scan_videos
from pipeline.jobs.workers.pool import WorkerPool
from pipeline.jobs.workers.shard_builder import find_toolchain
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult


def run(config: Config) -> JobResult:
    """Build the dataset of `config.source` below `config.storage.root`, unless it is there already.

    With `preprocess.extend` it is a new version of that dataset, with `preprocess.retry_rejected` one of the dataset
    that is there already.

    Raises:
        UsageError: ffmpeg, the source, the labels' folder, the manifest or the detector's model cannot be used as
            given, two options exclude each other, or there is too little space.
        DatasetError: more videos were rejected than `shards.max_rejected_fraction` allows.
    """
    begin = perf_counter()
    require_detector(config)
    _check_exclusive_options(config)
    config = absolute(config)
    toolchain = find_toolchain(config)
    listing = list_videos(config)
    if config.preprocess.extend:
        with WorkerPool(config) as pool:
            return new_version.extend(config, listing, toolchain, pool)
    name = f"{config.name}-{dataset_fingerprint(config, listing.content_ids, toolchain)}"
    uri = new_version.newest(storage.join(config.storage.root, "datasets", name))
    committed = committed_at(uri)
    if committed and config.preprocess.retry_rejected:
        with WorkerPool(config) as pool:
            return new_version.retry_rejected(config, committed, toolchain, pool)
    if committed:
        line = f"{uri} is complete: {len(committed.shards)} shards, nothing to do"
        return JobResult("preprocess", uri, True, perf_counter() - begin, committed.counts, (line,))
    if config.preprocess.retry_rejected:
        new_version.retry_unfinished(uri)
    with WorkerPool(config) as pool:
        return _build(BuildTarget(uri, config, toolchain), listing, pool, begin)


def _build(target: BuildTarget, listing: Listing, pool: WorkerPool, begin: float) -> JobResult:
    config = target.config
    scans = scan_videos(listing.videos, config, target.toolchain, pool)
    plans = plan_shards(listing.videos, scans, config)
    expected = forecast(listing.videos, scans, config)
    lines = plan_text(plans, listing.unused, expected)
    print("\n".join(lines), flush=True)
    if config.preprocess.dry_run:
        counts = {"videos": len(listing.videos), "shards": len(plans), "mb": expected.bytes / 1e6}
        return JobResult("preprocess", target.uri, False, perf_counter() - begin, counts, lines)
    require_space(target.uri, expected.bytes)
    info = build_dataset(target, plans, pool)
    outcomes = outcome_lines(read_videos(target.uri))
    return JobResult("preprocess", target.uri, False, perf_counter() - begin, info.counts, outcomes)


def _check_exclusive_options(config: Config) -> None:
    """Raise UsageError when --retry-rejected comes with an option that it would have to ignore."""
    for name in ("extend", "dry_run"):
        if config.preprocess.retry_rejected and getattr(config.preprocess, name):
            option = name.replace("_", "-")
            raise UsageError(f"--retry-rejected builds what is rejected in a dataset again; leave --{option} out")


if __name__ == "__main__":
    job_process.main("preprocess", run)
