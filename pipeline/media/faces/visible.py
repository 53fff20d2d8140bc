"""Everybody who was seen in one span of a video, and why one of them was followed and the others were not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.media.faces.anchor import MAX_DISTANCE, distances_from_anchor
from pipeline.media.faces.track import MIN_SHARE_OF_LONGEST, Choice, Track, persons_of
from pipeline.records import AnchorPoint, VisibleFace

_LOST_TO = {"longest": "not longer", "largest": "not larger", "left": "not further left", "right": "not further right"}


def visible_faces(
    rows: NDArray[np.void],
    followed: NDArray[np.void],
    tracks: Sequence[Track],
    choose: Choice,
    anchor: Sequence[AnchorPoint],
    times_s: NDArray[np.float64],
    cuts: Sequence[int],
    num_context: int = 0,
) -> tuple[VisibleFace, ...]:
    """Whoever has a box in `rows`: first those who are followed, then the others, each by how long they are seen.

    Args:
        rows: (n,) CROP_DTYPE of every face.
        followed: those of them that were chosen.
        tracks: the tracks that the rows are of.
        choose: the rule that chose, unless an anchor did.
        anchor: of the person to follow; empty without one.
        times_s: (N,) of the frames.
        cuts: frames at which another scene begins.
        num_context: frames at the start of which nothing is told.
    """
    apart = distances_from_anchor(rows, anchor, times_s, cuts) if anchor and len(rows) else {}
    rows, followed = (some[some["frame"] >= num_context] for some in (rows, followed))
    groups = [np.array([track.number for track in person]) for person in persons_of(tracks)]
    people = [(group, rows[np.isin(rows["track"], group)]) for group in groups]
    longest = max((len(own) for _, own in people), default=0)
    found = []
    for group, own in people:
        if len(own):
            num_followed = int(np.isin(followed["track"], group).sum())
            away = min((apart[number] for number in group if number in apart), default=0.0)
            why = "followed" if num_followed else _why_not(len(own), longest, choose, away if anchor else None)
            found.append(_seen(own, num_followed, why, times_s))
    return tuple(sorted(found, key=lambda face: (not face.num_followed, -face.num_frames, face.start_s)))


def _why_not(num_frames: int, longest: int, choose: Choice, away: float | None) -> str:
    if away is not None and away > MAX_DISTANCE:
        return f"{away:.1f} face sides from the anchor, allowed is {MAX_DISTANCE:g}"
    if away is not None:
        return "somebody else is nearer to the anchor"
    if num_frames < MIN_SHARE_OF_LONGEST * longest:
        return f"seen for less than {MIN_SHARE_OF_LONGEST:.0%} of the longest"
    return _LOST_TO[choose]


def _seen(own: NDArray[np.void], num_followed: int, why: str, times_s: NDArray[np.float64]) -> VisibleFace:
    first, last = int(own["frame"].min()), int(own["frame"].max())
    step_s = float(times_s[1] - times_s[0]) if len(times_s) > 1 else 0.0
    x0, y0, x1, y1 = (round(float(side), 1) for side in own["box"].mean(axis=0))
    score = round(float(own["score"].mean()), 3)
    start_s, stop_s = round(float(times_s[first]), 6), round(float(times_s[last]) + step_s, 6)
    return VisibleFace(start_s, stop_s, len(own), num_followed, score, x0, y0, x1, y1, why)
