"""Where on a stream's clock picture, face or sound is missing: the masks of its frames as intervals of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Gap, Probe, VideoOnClock

KINDS = ("picture", "face", "sound")
END_TOLERANCE_S = 0.25  # many containers end this much early: less than this is not reported as missing
_ORDER = ("all", *KINDS)
JOIN_TOLERANCE_S = 1e-6


def gaps_of(frames: NDArray[np.void], frame_rate_hz: float, kinds: Sequence[str] = KINDS) -> tuple[Gap, ...]:
    """Find the runs of frames (FRAME_DTYPE) without picture, face or sound, in time order.

    A face is missing where a picture is shown without it.
    """
    missing = {
        "picture": ~frames["video_ok"],
        "face": frames["video_ok"] & ~frames["face_ok"],
        "sound": ~frames["audio_ok"],
    }
    gaps = [_gap(kind, frames[first:stop], frame_rate_hz) for kind in kinds for first, stop in true_runs(missing[kind])]
    return tuple(sorted(gaps, key=lambda gap: (gap.start_s, _ORDER.index(gap.missing))))


def join_gaps(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    """Join the gaps of successive spans that touch where one span ends and the next begins."""
    joined: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: (_ORDER.index(gap.missing), gap.start_s)):
        before = joined[-1] if joined else None
        if before and before.missing == gap.missing and gap.start_s - before.stop_s < JOIN_TOLERANCE_S:
            first = before.first_frame if before.first_frame >= 0 else gap.first_frame
            last = max(before.last_frame, gap.last_frame)
            joined[-1] = replace(before, stop_s=gap.stop_s, first_frame=first, last_frame=last)
        else:
            joined.append(gap)
    return tuple(sorted(joined, key=lambda gap: (gap.start_s, _ORDER.index(gap.missing))))


def face_fraction(video: VideoOnClock, probe: Probe, start_s: float = 0.0) -> float:
    """Share of the original frames from `start_s` on, as far as they were decoded, that show the person's face.

    An original frame has the face if one of the clock's frames that show it has; one that the clock leaves out is
    taken as the last frame before it that is shown.
    """
    counted = np.flatnonzero((probe.frame_times_s >= start_s) & (probe.frame_times_s < video.covered_s))
    frames = video.frames[video.frames["video_ok"]]
    if not len(counted) or not len(frames):
        return 0.0
    faces_before = np.concatenate([[0], np.cumsum(frames["face_ok"])])
    last = np.searchsorted(frames["source_index"], counted, side="right")
    shown = frames["source_index"][np.maximum(last - 1, 0)]
    first = np.searchsorted(frames["source_index"], shown, side="left")
    return float((faces_before[np.maximum(last, 1)] > faces_before[first]).mean())


def true_runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[first, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]


def _gap(missing: str, frames: NDArray[np.void], frame_rate_hz: float) -> Gap:
    shown = frames["source_index"][frames["source_index"] >= 0]
    first, last = (int(shown[0]), int(shown[-1])) if len(shown) else (-1, -1)
    start_s, stop_s = float(frames["time_s"][0]), float(frames["time_s"][-1]) + 1 / frame_rate_hz
    return Gap(missing, round(start_s, 6), round(stop_s, 6), first, last)
