"""The rows of a video's spans as the one row of the video."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pipeline.records import VideoRow

_SUMS = (
    "duration_s",
    "covered_s",
    "num_segments",
    "seconds_probe",
    "seconds_decode",
    "seconds_faces",
    "seconds_audio",
    "seconds_write",
)
_SHARES = ("face_fraction", "audio_fraction", "silent_fraction", "clipped_fraction")  # of the time that a span lasts


def merge_spans(rows: Iterable[VideoRow]) -> list[VideoRow]:
    """One row per stream from one row per span, sorted by stream.

    A stream is ok when at least one of its spans gave a segment; lost or short spans make it `partial`.

    Args:
        rows: of the spans, those of one stream in the order of time.
    """
    streams: dict[tuple[str, str], list[VideoRow]] = {}
    for row in rows:
        streams.setdefault((row.video_id, row.person), []).append(row)
    return [_merge(streams[key]) for key in sorted(streams)]


def _merge(spans: Sequence[VideoRow]) -> VideoRow:
    if len(spans) == 1:
        return spans[0]
    told = max(spans, key=lambda row: (bool(row.container), row.labelled_frames))  # who saw the file, and its labels
    changes: dict[str, Any] = {name: sum(getattr(row, name) for row in spans) for name in _SUMS}
    seconds = sum(row.duration_s for row in spans) or 1.0
    changes |= {name: sum(getattr(row, name) * row.duration_s for row in spans) / seconds for name in _SHARES}
    attempts = max(row.attempts for row in spans)
    return replace(told, **changes, **_outcome(spans), num_spans=len(spans), attempts=attempts)


def _outcome(spans: Sequence[VideoRow]) -> dict[str, Any]:
    lost = [row for row in spans if row.status == "rejected"]
    first = next((row for row in lost or spans if row.reason), None)
    if first is None:
        return {"status": "ok", "stage": "", "reason": "", "detail": ""}
    if len(lost) == len(spans):
        detail = f"none of {len(spans)} spans could be used; the first: {first.detail}"
        return {"status": "rejected", "stage": first.stage, "reason": first.reason, "detail": detail}
    why = f"{len(lost)} of {len(spans)} spans were lost; {first.reason}: " if lost else ""
    return {"status": "ok", "stage": first.stage, "reason": "partial", "detail": f"{why}{first.detail}"}
