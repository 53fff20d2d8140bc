"""The scan of a file before the plan: how long it is, and where the person to follow is."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from pipeline.config import Config
from pipeline.dataset.plan.media_options import decode_options
from pipeline.dataset.plan.shard_plan import ScanResult, needs_cutting
from pipeline.media.container.probe import probe
from pipeline.media.faces.anchor import find_anchor
from pipeline.media.faces.detect import Detector
from pipeline.media.options import Choice
from pipeline.records import AnchorPoint, Probe, Rejection, Video
from pipeline.storage.download_cache import DownloadCache

PERSONS: dict[str, Choice] = {"left": "left", "right": "right"}  # of a stream: how its face is chosen


def choice_of(video: Video, config: Config) -> Choice:
    """Which person of a stream is followed: the one that its labels describe, else by the configured rule."""
    return PERSONS.get(video.person, config.faces.choose)


def scan_video(
    video: Video,
    config: Config,
    *,
    ffmpeg: str,
    load_detector: Callable[[], Detector],
    copies: DownloadCache | None = None,
) -> ScanResult:
    """Probe the file of a stream and, if it is long enough to be cut, find the person to follow on its keyframes.

    Args:
        video: the stream.
        config: the experiment.
        ffmpeg: the executable.
        load_detector: called when faces must be detected.
        copies: keeps the download of a video from a bucket for the next stream of the same file.

    Returns:
        An empty result for a file that cannot be read; building it gives the reason. A result that is not complete
        where another scan may give more: without a length if the file was missing or not read in time (its content
        does not decide that, but the load of this machine does), with one if only the search for the person was not
        done in time.

    Raises:
        OSError: the storage does not answer.
    """
    copies = copies or DownloadCache()
    try:
        path = copies.local_path(video.uri)
        container = probe(path, max_duration_s=math.inf)
    except FileNotFoundError:
        return ScanResult(complete=video.size_bytes == 0)  # a link that leads nowhere is listed as an empty file
    except Rejection as rejection:
        return ScanResult(complete=rejection.reason != "timeout")
    if not needs_cutting(container.duration_s, config):
        return ScanResult(container.duration_s)
    try:
        anchor = _find_person(path, container, video, config, ffmpeg, load_detector())
    except Rejection as rejection:
        return ScanResult(container.duration_s, complete=rejection.reason != "timeout")
    return ScanResult(container.duration_s, anchor)


def _find_person(
    path: Path, container: Probe, video: Video, config: Config, ffmpeg: str, detector: Detector
) -> tuple[AnchorPoint, ...]:
    return find_anchor(
        path,
        container,
        detector=detector,
        decode=decode_options(config, ffmpeg),
        choose=choice_of(video, config),
        min_score=config.faces.min_score,
    )
