"""The scan of all videos before the plan: how long they are, and where the person to follow is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.config import Config
from pipeline.dataset.build.attempts import MAX_CRASHES
from pipeline.dataset.plan.scan_cache import ScanCache
from pipeline.dataset.plan.shard_plan import ScanResult
from pipeline.jobs.workers.file_scanner import scan_file
from pipeline.jobs.workers.pool import CallFailure, WorkerPool
from pipeline.records import Video
from pipeline.runtime.progress import Progress, emit

PROGRESS_EVERY = 50  # videos


def scan_videos(
    videos: Sequence[Video], config: Config, toolchain: dict[str, str], pool: WorkerPool
) -> dict[str, ScanResult]:
    """Scan all streams, in parallel, except those whose result is in the cache.

    A file whose scan fails has an empty result: building it gives the reason, as a row of `videos.parquet`. That
    includes one whose scan has killed `MAX_CRASHES` workers, as its build would. One that could not be scanned now has
    a result that is not known.

    Returns:
        The results by the keys of the streams.
    """
    cache = ScanCache(config, toolchain)
    cached = {video.key: cache.get(video) for video in videos}
    scans = {key: result for key, result in cached.items() if result}
    files = _group_by_file([video for video in videos if video.key not in scans])
    try:
        for streams, results in pool.map_files(scan_file, files, config, num_retries=MAX_CRASHES - 1):
            num_before = len(scans)
            if isinstance(results, CallFailure):
                scans |= {video.key: ScanResult(complete=not results.is_transient) for video in streams}
                text = f"the scan failed ({results.reason}); it is planned as if it had no length"
                print(f"{streams[0].uri}: {text}", flush=True)
            else:
                scans |= {video.key: result for video, result in zip(streams, results, strict=True)}
                for video in streams:
                    cache.put(video, scans[video.key])
                _report_incomplete(streams, scans)
            if num_before // PROGRESS_EVERY < len(scans) // PROGRESS_EVERY or len(scans) == len(videos):
                emit(Progress("scan", len(scans), len(videos), "videos"))
    finally:
        cache.save()
    return scans


def _group_by_file(videos: Sequence[Video]) -> list[list[Video]]:
    """The streams of each file together, so that one worker downloads it once for all of them."""
    files: dict[str, list[Video]] = {}
    for video in videos:
        files.setdefault(video.uri, []).append(video)
    return list(files.values())


def _report_incomplete(streams: Sequence[Video], scans: Mapping[str, ScanResult]) -> None:
    """Print what another scan of a file may mend."""
    results = [scans[video.key] for video in streams]
    if not all(result.is_known for result in results):
        print(f"{streams[0].uri}: it could not be scanned now: it is missing, or was not read in time", flush=True)
    elif not all(result.complete for result in results):
        print(
            f"{streams[0].uri}: its keyframes were not decoded within media.timeout_s, so that each of its spans may "
            "follow another person; raise it and run again",
            flush=True,
        )
