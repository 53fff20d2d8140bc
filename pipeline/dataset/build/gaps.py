"""Where on a stream's clock picture, face or sound is missing: the masks of its frames as stretches of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Gap, Probe, VideoOnClock

KINDS = ("picture", "face", "sound")
PARTIAL_SLACK_S = 0.25  # less than this missing at the end is how containers end, and not worth a word
_ORDER = ("all", *KINDS)
_TOUCHING_S = 1e-6


def gaps_of(frames: NDArray[np.void], frame_rate_hz: float, kinds: Sequence[str] = KINDS) -> tuple[Gap, ...]:
    """The stretches of successive frames (FRAME_DTYPE) without picture, face or sound, in time order.

    A face is missing where a picture is shown without it.
    """
    missing = {
        "picture": ~frames["video_ok"],
        "face": frames["video_ok"] & ~frames["face_ok"],
        "sound": ~frames["audio_ok"],
    }
    found = [
        _gap(kind, frames[first:stop], frame_rate_hz) for kind in kinds for first, stop in stretches(missing[kind])
    ]
    return tuple(sorted(found, key=lambda gap: (gap.start_s, _ORDER.index(gap.missing))))


def joined(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    """The gaps of successive spans, with those put together that touch where one span ends and the next begins."""
    found: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: (_ORDER.index(gap.missing), gap.start_s)):
        before = found[-1] if found else None
        if before and before.missing == gap.missing and gap.start_s - before.stop_s < _TOUCHING_S:
            first = before.first_frame if before.first_frame >= 0 else gap.first_frame
            last = max(before.last_frame, gap.last_frame)
            found[-1] = replace(before, stop_s=gap.stop_s, first_frame=first, last_frame=last)
        else:
            found.append(gap)
    return tuple(sorted(found, key=lambda gap: (gap.start_s, _ORDER.index(gap.missing))))


def face_fraction(seen: VideoOnClock, facts: Probe, frame_rate_hz: float, start_s: float = 0.0) -> float:
    """Share of the original frames from `start_s` on, as far as they were decoded, that show the person's face."""
    times = facts.frame_times_s
    times = times[(times >= start_s) & (times < seen.covered_s)]
    if not len(times) or not len(seen.frames):
        return 0.0
    first = round(float(seen.frames["time_s"][0]) * frame_rate_hz)
    shown = np.clip(np.floor(times * frame_rate_hz + 1e-6).astype(int) - first, 0, len(seen.frames) - 1)
    return float(seen.frames["face_ok"][shown].mean())


def stretches(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[first, stop) of all successive True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]


def _gap(missing: str, frames: NDArray[np.void], frame_rate_hz: float) -> Gap:
    shown = frames["source_index"][frames["source_index"] >= 0]
    first, last = (int(shown[0]), int(shown[-1])) if len(shown) else (-1, -1)
    start_s, stop_s = float(frames["time_s"][0]), float(frames["time_s"][-1]) + 1 / frame_rate_hz
    return Gap(missing, round(start_s, 6), round(stop_s, 6), first, last)
