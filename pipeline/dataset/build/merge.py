"""The rows of a video's spans merged into the one row of the video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pipeline.dataset.build.gaps import END_TOLERANCE_S, join_gaps
from pipeline.media.faces.detect import Box
from pipeline.media.faces.track import distance, is_near
from pipeline.records import STAGE_SECONDS, Gap, VideoRow, VisibleFace

_SUMS = ("duration_s", "covered_s", "num_segments", "num_faces", "num_cuts", *STAGE_SECONDS)
_SHARES = ("face_fraction", "audio_fraction", "silent_fraction", "clipped_fraction")  # of the time that a span lasts
_FACE_MEANS = ("score", "x0", "y0", "x1", "y1")
_FACE_SUMS = ("num_frames", "num_followed")
MAX_ABSENCE_S = 1.0  # a face that is away for longer between two spans is listed as another one
_ROUNDING_S = 1e-3  # of the times of faces


def merge_spans(rows: Iterable[VideoRow]) -> list[VideoRow]:
    """Merge the rows of all spans into one row per stream, sorted by stream.

    A stream is ok when at least one of its spans gave a segment; lost or short spans make it `partial`.

    Args:
        rows: of the spans, those of one stream in the order of time.
    """
    streams: dict[tuple[str, str], list[VideoRow]] = {}
    for row in rows:
        streams.setdefault((row.video_id, row.person), []).append(row)
    return [_merge(streams[key]) for key in sorted(streams)]


def _merge(spans: Sequence[VideoRow]) -> VideoRow:
    gaps = join_gaps([*(gap for row in spans for gap in row.gaps), *_undecoded_gaps(spans)])
    if len(spans) == 1:
        return replace(spans[0], gaps=gaps)
    # The container's fields and the labels are the same for all spans that got as far as reading them.
    base = max(spans, key=lambda row: (bool(row.container), row.labelled_frames))
    sums = {name: sum(getattr(row, name) for row in spans) for name in _SUMS}
    duration_s = sums["duration_s"] or 1.0
    shares = {name: sum(getattr(row, name) * row.duration_s for row in spans) / duration_s for name in _SHARES}
    listed = [face for row in spans for face in row.faces]
    faces = join_faces(listed)
    sums["num_faces"] -= len(listed) - len(faces)
    merged = replace(base, **sums, **shares, gaps=gaps, faces=faces, num_spans=len(spans))
    return _with_outcome(replace(merged, attempts=max(row.attempts for row in spans)), spans)


def join_faces(faces: Sequence[VisibleFace]) -> tuple[VisibleFace, ...]:
    """Join the faces of successive spans that go on in the next span where they were.

    Each span chose its person independently, so that a face may be followed in one span and not in the next.
    """
    joined: list[VisibleFace] = []
    for face in sorted(faces, key=lambda face: face.start_s):
        earlier = [before for before in joined if _continues(before, face)]
        if earlier:
            nearest = min(earlier, key=lambda before: distance(_box(before), _box(face)))
            joined[joined.index(nearest)] = _join(nearest, face)
        else:
            joined.append(face)
    return tuple(sorted(joined, key=lambda face: (not face.num_followed, -face.num_frames, face.start_s)))


def _continues(before: VisibleFace, after: VisibleFace) -> bool:
    within = 0 <= after.start_s - before.stop_s + _ROUNDING_S <= MAX_ABSENCE_S
    return within and is_near(_box(before), _box(after)) and bool(before.num_followed) == bool(after.num_followed)


def _join(before: VisibleFace, after: VisibleFace) -> VisibleFace:
    weight = after.num_frames / (before.num_frames + after.num_frames)
    means = {name: getattr(before, name) * (1 - weight) + getattr(after, name) * weight for name in _FACE_MEANS}
    sums = {name: getattr(before, name) + getattr(after, name) for name in _FACE_SUMS}
    return replace(before, stop_s=after.stop_s, **{name: round(mean, 3) for name, mean in means.items()}, **sums)


def _box(face: VisibleFace) -> Box:
    return face.x0, face.y0, face.x1, face.y1


def _undecoded_gaps(spans: Sequence[VideoRow]) -> Iterator[Gap]:
    """The gaps that no frame of the dataset shows: spans that were lost, and what was not decoded at a span's end.

    A span that lasts 0 s was lost before its duration was known. A video that is lost as a whole has its reason.
    """
    if all(row.status == "rejected" for row in spans):
        return
    start_s = 0.0
    for row in spans:
        end_s = start_s + row.duration_s
        if row.status == "rejected":
            yield Gap("all", start_s, end_s, -1, -1)
        elif row.duration_s - row.covered_s > END_TOLERANCE_S:
            yield Gap("picture", start_s + row.covered_s, end_s, -1, -1)
        start_s = end_s


def _with_outcome(row: VideoRow, spans: Sequence[VideoRow]) -> VideoRow:
    """The row with the status, stage, reason and detail that those of its spans give."""
    lost = [span for span in spans if span.status == "rejected"]
    first = next((span for span in lost or spans if span.reason), None)
    if first is None:
        return replace(row, status="ok", stage="", reason="", detail="")
    if len(lost) == len(spans):
        detail = f"none of {len(spans)} spans could be used; the first: {first.detail}"
        return replace(row, status="rejected", stage=first.stage, reason=first.reason, detail=detail)
    loss = f"{len(lost)} of {len(spans)} spans were lost; {first.reason}: " if lost else ""
    return replace(row, status="ok", stage=first.stage, reason="partial", detail=f"{loss}{first.detail}")
