"""The rows of a video's spans as the one row of the video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pipeline.dataset.build.gaps import PARTIAL_SLACK_S, joined
from pipeline.media.faces.detect import Box
from pipeline.media.faces.track import distance, is_near
from pipeline.records import STAGE_SECONDS, Gap, VisibleFace, VideoRow

_SUMS = (
    "duration_s",
    "covered_s",
    "num_segments",
    "num_faces",
    "num_cuts",
    *STAGE_SECONDS,
)
_MEANS = ("score", "x0", "y0", "x1", "y1")
MAX_AWAY_S = 1.0  # somebody who is away for longer between two spans is told of anew
_ROUNDING_S = 1e-3  # of the times of faces
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
    gaps = joined([*(gap for row in spans for gap in row.gaps), *_lost(spans)])
    if len(spans) == 1:
        return replace(spans[0], gaps=gaps)
    told = max(spans, key=lambda row: (bool(row.container), row.labelled_frames))  # who saw the file, and its labels
    changes: dict[str, Any] = {name: sum(getattr(row, name) for row in spans) for name in _SUMS}
    seconds = sum(row.duration_s for row in spans) or 1.0
    changes |= {name: sum(getattr(row, name) * row.duration_s for row in spans) / seconds for name in _SHARES}
    listed = [face for row in spans for face in row.faces]
    changes["gaps"], changes["faces"] = gaps, people_of(listed)
    changes["num_faces"] -= len(listed) - len(changes["faces"])
    attempts = max(row.attempts for row in spans)
    return replace(told, **changes, **_outcome(spans), num_spans=len(spans), attempts=attempts)


def people_of(faces: Sequence[VisibleFace]) -> tuple[VisibleFace, ...]:
    """The faces of successive spans, with those put together that go on in the next span where they were.

    Each span chose by itself, so that a face may be followed in one span and not in the next.
    """
    people: list[VisibleFace] = []
    for face in sorted(faces, key=lambda face: face.start_s):
        earlier = [person for person in people if _goes_on(person, face)]
        if earlier:
            before = min(earlier, key=lambda person: distance(_box(person), _box(face)))
            people[people.index(before)] = _one(before, face)
        else:
            people.append(face)
    return tuple(sorted(people, key=lambda face: (not face.num_followed, -face.num_frames, face.start_s)))


def _goes_on(before: VisibleFace, after: VisibleFace) -> bool:
    within = 0 <= after.start_s - before.stop_s + _ROUNDING_S <= MAX_AWAY_S
    return within and is_near(_box(before), _box(after)) and bool(before.num_followed) == bool(after.num_followed)


def _one(before: VisibleFace, after: VisibleFace) -> VisibleFace:
    share = after.num_frames / (before.num_frames + after.num_frames)
    means = {name: getattr(before, name) * (1 - share) + getattr(after, name) * share for name in _MEANS}
    frames = {name: getattr(before, name) + getattr(after, name) for name in ("num_frames", "num_followed")}
    return replace(before, stop_s=after.stop_s, **{name: round(mean, 3) for name, mean in means.items()}, **frames)


def _box(face: VisibleFace) -> Box:
    return face.x0, face.y0, face.x1, face.y1


def _lost(spans: Sequence[VideoRow]) -> Iterator[Gap]:
    """What no frame of the dataset tells of: spans that were lost, and what could not be decoded at a span's end.

    A span that lasts 0 s was lost before anybody knew how long it is. A video that is lost as a whole has its reason.
    """
    if all(row.status == "rejected" for row in spans):
        return
    start_s = 0.0
    for row in spans:
        end_s = start_s + row.duration_s
        if row.status == "rejected":
            yield Gap("all", start_s, end_s, -1, -1)
        elif row.duration_s - row.covered_s > PARTIAL_SLACK_S:
            yield Gap("picture", start_s + row.covered_s, end_s, -1, -1)
        start_s = end_s


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
