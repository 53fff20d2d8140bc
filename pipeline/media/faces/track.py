"""From detections to one person: joining them over time, filling short gaps, and choosing whom to follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.media.faces.detect import Box, Detection, area

Choice = Literal["largest", "longest", "left", "right"]
MAX_LIVE_TRACKS = 4  # more faces than that at once is a crowd; the largest are followed
MIN_SHARE_OF_LONGEST = 0.2  # someone seen for less is nobody to choose, however large or far left


@dataclass(slots=True)
class Track:
    """One face followed without a long gap; sums are over its frames, detected or interpolated."""

    number: int
    first: int  # frame of the clock
    last: int
    first_box: Box
    last_box: Box
    last_score: float
    last_roll_rad: float
    num_frames: int = 1
    sum_area: float = 0.0
    sum_centre_x: float = 0.0


@dataclass(frozen=True, slots=True)
class TrackSegment:
    """Boxes of one track on consecutive frames that have just become known."""

    track: int
    first: int
    boxes: NDArray[np.float32]  # (n, 4)
    scores: NDArray[np.float32]  # (n,)
    rolls_rad: NDArray[np.float32]  # (n,) NaN where the eyes are not known


class Tracker:
    """Joins detections of successive frames into tracks by overlap.

    A detection continues the track whose last box it overlaps most, if by at least `min_overlap` (intersection over
    union) and not more than `max_gap` frames later; boxes between are interpolated linearly, with the lower of the
    two scores. Longer gaps end a track, so nothing is ever drawn where nobody was seen for long; so does a scene cut.
    """

    def __init__(self, *, min_overlap: float, max_gap: int) -> None:
        self.min_overlap = min_overlap
        self.max_gap = max_gap
        self.tracks: list[Track] = []
        self._live: list[Track] = []

    def explains(self, detections: Sequence[Detection], since: int) -> bool:
        """Whether `detections` are exactly the tracks last seen at frame `since`: nobody came, nobody left."""
        seen = [track for track in self._live if track.last == since]
        return len(seen) == len(detections) == len(self._pairs(seen, detections))

    def end_scene(self) -> None:
        """Continue no track: whatever is seen from here on belongs to another scene."""
        self._live = []

    def update(self, frame: int, detections: Sequence[Detection]) -> list[TrackSegment]:
        """Take the detections of `frame`, later than all before; the boxes that are known now and were not."""
        self._live = [track for track in self._live if frame - track.last <= self.max_gap]
        pairs = self._pairs(self._live, detections)
        known = [_extend(track, frame, detections[index]) for index, track in sorted(pairs.items())]
        for index, detection in enumerate(detections):
            if index not in pairs and len(self._live) < MAX_LIVE_TRACKS:
                known.append(self._start(frame, detection))
        return known

    def _pairs(self, tracks: Sequence[Track], detections: Sequence[Detection]) -> dict[int, Track]:
        """Detection index -> track, best overlaps first; equal ones in the order of the tracks."""
        overlaps = [
            (-overlap(track.last_box, detection.box), order, index)
            for order, track in enumerate(tracks)
            for index, detection in enumerate(detections)
        ]
        pairs: dict[int, Track] = {}
        taken: set[int] = set()
        for negative, order, index in sorted(overlaps):
            if -negative >= self.min_overlap and order not in taken and index not in pairs:
                pairs[index] = tracks[order]
                taken.add(order)
        return pairs

    def _start(self, frame: int, detection: Detection) -> TrackSegment:
        box = detection.box
        track = Track(len(self.tracks), frame, frame, box, box, detection.score, detection.roll_rad)
        track.sum_area, track.sum_centre_x = area(box), (box[0] + box[2]) / 2
        self.tracks.append(track)
        self._live.append(track)
        boxes, values = np.array([box], np.float32), np.array([[detection.score], [detection.roll_rad]], np.float32)
        return TrackSegment(track.number, frame, boxes, values[0], values[1])


def _extend(track: Track, frame: int, detection: Detection) -> TrackSegment:
    steps = np.arange(1, frame - track.last + 1) / (frame - track.last)
    before, after = np.array(track.last_box), np.array(detection.box)
    boxes = before + steps[:, None] * (after - before)
    scores = np.full(len(steps), min(track.last_score, detection.score), np.float32)
    scores[-1] = detection.score
    turn = math.remainder(detection.roll_rad - track.last_roll_rad, math.tau)  # the shorter way round
    rolls = (track.last_roll_rad + steps * turn).astype(np.float32)
    stretch = TrackSegment(track.number, track.last + 1, boxes.astype(np.float32), scores, rolls)
    track.num_frames += len(steps)
    track.sum_area += float(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum())
    track.sum_centre_x += float((boxes[:, 0] + boxes[:, 2]).sum() / 2)
    track.last, track.last_box = frame, detection.box
    track.last_score, track.last_roll_rad = detection.score, detection.roll_rad
    return stretch


def choose_person(tracks: Sequence[Track], choose: Choice) -> list[Track]:
    """The tracks of one person, in time order; empty when there are no tracks.

    Tracks are first put together into persons: a track continues a person who left before it began if it begins
    where that person was last seen: centres at most one box side apart, sizes within a factor of two. How long the
    person was away, and whether the scene was cut meanwhile, does not matter; somebody who comes back elsewhere is
    somebody else, for nothing tells otherwise: what faces look like is not compared. Then, among persons seen for at
    least a fifth as long as the longest, `choose` decides: "longest" by frames, "largest" by mean area, "left" and
    "right" by mean centre. Equals: whoever was seen first.
    """
    return by_rule(persons_of(tracks), choose)


def by_rule(persons: Sequence[list[Track]], choose: Choice) -> list[Track]:
    """The person that `choose` means, see `choose_person`; empty when there is nobody."""
    longest = max((_num_frames(person) for person in persons), default=0)
    candidates = [person for person in persons if _num_frames(person) >= MIN_SHARE_OF_LONGEST * longest]
    measure = {
        "longest": _num_frames,
        "largest": lambda person: sum(track.sum_area for track in person) / _num_frames(person),
        "left": lambda person: -_centre_x(person),
        "right": _centre_x,
    }[choose]
    return max(candidates, key=measure, default=[])  # max takes the first of equals, and persons are in time order


def persons_of(tracks: Sequence[Track]) -> list[list[Track]]:
    """The tracks put together into persons, see `choose_person`, in the order in which they were first seen."""
    persons: list[list[Track]] = []
    for track in sorted(tracks, key=lambda track: (track.first, track.number)):
        earlier = [person for person in persons if _continues(person[-1], track)]
        if earlier:
            min(earlier, key=lambda person: distance(person[-1].last_box, track.first_box)).append(track)
        else:
            persons.append([track])
    return persons


def _continues(before: Track, after: Track) -> bool:
    return after.first > before.last and near(before.last_box, after.first_box)


def near(one: Box, other: Box) -> bool:
    """Whether two boxes may be one person at two times: of like size, centres at most one side apart."""
    return alike(one, other) and distance(one, other) <= max(_side(one), _side(other))


def alike(one: Box, other: Box) -> bool:
    """Whether the sizes are within a factor of two."""
    return 0.5 <= _side(one) / _side(other) <= 2.0


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (area(one) + area(other) - shared) if shared else 0.0


def _num_frames(person: Sequence[Track]) -> int:
    return sum(track.num_frames for track in person)


def _centre_x(person: Sequence[Track]) -> float:
    return sum(track.sum_centre_x for track in person) / _num_frames(person)


def _side(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1], 1e-6)


def distance(one: Box, other: Box) -> float:
    """Between the centres, in pixels."""
    return float(np.hypot(one[0] + one[2] - other[0] - other[2], one[1] + one[3] - other[1] - other[3]) / 2)
