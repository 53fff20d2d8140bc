"""A scan of one file on a Ray worker, for all its streams at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from pipeline.config import Config
from pipeline.dataset.plan.media_options import require_ffmpeg
from pipeline.dataset.plan.scan import scan_video
from pipeline.dataset.plan.shard_plan import ScanResult
from pipeline.jobs.workers.shard_builder import load_detector
from pipeline.records import Video
from pipeline.storage.download_cache import DownloadCache


def scan_file(streams: Sequence[Video], config: Config) -> list[ScanResult]:
    """Scan the streams of one file, which is downloaded only once."""
    ffmpeg, copies = require_ffmpeg(config), DownloadCache()
    load = functools.partial(load_detector, config)
    return [scan_video(video, config, ffmpeg=ffmpeg, load_detector=load, copies=copies) for video in streams]
