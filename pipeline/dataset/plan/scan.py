"""A look at a file before the plan: how long it is and where its person is, remembered by what the file is."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from pipeline.config import Config
from pipeline.dataset.build.media_options import decode_options
from pipeline.dataset.plan.shard_plan import ScanResult, needs_cutting
from pipeline.media.container.probe import probe
from pipeline.media.faces.anchor import find_anchor
from pipeline.media.faces.detect import Detector
from pipeline.media.options import Choice
from pipeline.records import AnchorPoint, Probe, Rejection, Video
from pipeline.storage.download_cache import LastCopy

PERSONS: dict[str, Choice] = {"left": "left", "right": "right"}  # of a stream: how its face is chosen


def choice_of(video: Video, config: Config) -> Choice:
    """Which person of a stream is followed: the one its labels are of, else by the configured rule."""
    return PERSONS.get(video.person, config.faces.choose)


def look(
    video: Video, config: Config, *, ffmpeg: str, load_detector: Callable[[], Detector], copies: LastCopy | None = None
) -> ScanResult | None:
    """Probe one file and, if it is long enough to be cut, find the person to follow on its keyframes.

    A file that cannot be read, or whose person cannot be found, has empty facts: building it will say why. One that is
    gone or was not read in time has none at all: the next look may find more. Where only the search for the person was
    not done in time, the facts are not complete.

    Args:
        video: the stream.
        config: the experiment.
        ffmpeg: the executable.
        load_detector: called when faces must be looked for.
        copies: where a video from a bucket is kept, for whoever looks at another stream of the same file next.

    Raises:
        OSError: the storage does not answer.
    """
    copies = copies or LastCopy()
    try:
        path = copies.path_of(video.uri)
        found = probe(path, max_duration_s=math.inf)
    except FileNotFoundError:
        return None
    except Rejection as rejection:
        return None if rejection.reason == "timeout" else ScanResult()
    if not needs_cutting(found.duration_s, config):
        return ScanResult(found.duration_s)
    try:
        return ScanResult(found.duration_s, _scan(path, found, video, config, ffmpeg, load_detector()))
    except Rejection as rejection:
        return ScanResult(found.duration_s, complete=rejection.reason != "timeout")


def _scan(
    path: Path, found: Probe, video: Video, config: Config, ffmpeg: str, detector: Detector
) -> tuple[AnchorPoint, ...]:
    return find_anchor(
        path,
        found,
        detector=detector,
        decode=decode_options(config, ffmpeg),
        choose=choice_of(video, config),
        min_score=config.faces.min_score,
    )
