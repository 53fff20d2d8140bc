"""The visible faces of one span of a video, with the reason why each was followed or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.media.faces.anchor_distance import MAX_DISTANCE, distances_from_anchor
from pipeline.media.faces.track import MIN_SHARE_OF_LONGEST, Track, group_into_persons
from pipeline.media.options import Choice, PersonRule
from pipeline.records import VisibleFace

_NOT_CHOSEN = {
    "longest": "another person is visible for longer",
    "largest": "another person is larger",
    "left": "another person is further left",
    "right": "another person is further right",
}


def visible_faces(
    rows: NDArray[np.void],
    followed: NDArray[np.void],
    tracks: Sequence[Track],
    rule: PersonRule,
    times_s: NDArray[np.float64],
    cuts: Sequence[int],
    num_context: int = 0,
) -> tuple[VisibleFace, ...]:
    """Describe every person who has a box in `rows`.

    Args:
        rows: (n,) CROP_DTYPE of every face.
        followed: those of them that are followed.
        tracks: the tracks that the rows are of.
        rule: that chose the followed person.
        times_s: (N,) of the frames.
        cuts: frames at which another scene begins.
        num_context: frames at the start that are not described; the reasons do depend on them.

    Returns:
        First the followed person, then the others by the number of their frames, the most first.
    """
    distances = distances_from_anchor(rows, rule.anchor, times_s, cuts) if rule.anchor and len(rows) else {}
    rows = rows[rows["frame"] >= num_context]
    followed = followed[followed["frame"] >= num_context]
    persons = []  # the numbers of each person's tracks, and their rows
    for person in group_into_persons(tracks):
        numbers = [track.number for track in person]
        rows_of_person = rows[np.isin(rows["track"], numbers)]
        if len(rows_of_person):
            persons.append((numbers, rows_of_person))
    longest = max((len(rows_of_person) for _, rows_of_person in persons), default=0)
    faces = []
    for numbers, rows_of_person in persons:
        num_followed = int(np.isin(followed["track"], numbers).sum())
        if num_followed:
            reason = "followed"
        elif rule.anchor:
            distance = min(distances[number] for number in numbers if number in distances)
            reason = _reason_by_anchor(distance)
        else:
            reason = _reason_by_rule(len(rows_of_person), longest, rule.choose)
        faces.append(_visible_face(rows_of_person, num_followed, reason, times_s))
    return tuple(sorted(faces, key=lambda face: (not face.num_followed, -face.num_frames, face.start_s)))


def _reason_by_anchor(distance: float) -> str:
    if distance > MAX_DISTANCE:
        return f"{distance:.1f} face sides from the anchor, allowed is {MAX_DISTANCE:g}"
    return "another person is nearer to the anchor"


def _reason_by_rule(num_frames: int, longest: int, choose: Choice) -> str:
    if num_frames < MIN_SHARE_OF_LONGEST * longest:
        return f"visible for less than {MIN_SHARE_OF_LONGEST:.0%} of the longest"
    return _NOT_CHOSEN[choose]


def _visible_face(rows: NDArray[np.void], num_followed: int, reason: str, times_s: NDArray[np.float64]) -> VisibleFace:
    """One person's rows as a record, rounded for people."""
    first, last = int(rows["frame"].min()), int(rows["frame"].max())
    step_s = float(times_s[1] - times_s[0]) if len(times_s) > 1 else 0.0
    x0, y0, x1, y1 = (round(float(side), 1) for side in rows["box"].mean(axis=0))
    return VisibleFace(
        start_s=round(float(times_s[first]), 6),
        stop_s=round(float(times_s[last]) + step_s, 6),
        num_frames=len(rows),
        num_followed=num_followed,
        score=round(float(rows["score"].mean()), 3),
        x0=x0,
        y0=y0,
        x1=x1,
        y1=y1,
        reason=reason,
    )
