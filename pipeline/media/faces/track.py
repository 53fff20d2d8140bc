"""From detections to tracks and from tracks to one person: joining over time, and the rule that chooses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.media.faces.detect import Box, Detection, area
from pipeline.media.options import Choice

MAX_ACTIVE_TRACKS = 4  # more faces than that at once is a crowd; the largest are followed
MIN_SHARE_OF_LONGEST = 0.2  # a person visible for less is not chosen, however large or far left


@dataclass(slots=True)
class Track:
    """One face followed without a long gap; sums are over its frames, detected or interpolated."""

    number: int
    first_frame: int  # of the clock
    last_frame: int
    first_box: Box
    last_box: Box
    last_score: float
    last_roll_rad: float
    num_frames: int = 1
    sum_area: float = 0.0
    sum_centre_x: float = 0.0


@dataclass(frozen=True, slots=True)
class TrackSegment:
    """Boxes of one track on consecutive frames, as far as one detection has made them known."""

    track: int  # its number
    first_frame: int
    boxes: NDArray[np.float32]  # (n, 4)
    scores: NDArray[np.float32]  # (n,)
    rolls_rad: NDArray[np.float32]  # (n,) NaN where the eyes are not known


class Tracker:
    """Joins detections of successive frames into tracks by overlap.

    A detection continues the track whose last box it overlaps most, if by at least `min_overlap` (intersection over
    union) and not more than `max_gap` frames later; boxes between are interpolated linearly, with the lower of the
    two scores. Longer gaps end a track, so no box is made up where no face was detected for long; so does a scene cut.
    """

    def __init__(self, *, min_overlap: float, max_gap: int) -> None:
        self.min_overlap = min_overlap
        self.max_gap = max_gap
        self.tracks: list[Track] = []
        self._active: list[Track] = []

    def has_same_faces(self, detections: Sequence[Detection], since_frame: int) -> bool:
        """Whether `detections` are the faces of frame `since_frame`, one for each track, none more and none fewer."""
        tracks = [track for track in self._active if track.last_frame == since_frame]
        return len(tracks) == len(detections) == len(self._match(tracks, detections))

    def end_scene(self) -> None:
        """End all tracks: the detections from here on belong to another scene."""
        self._active = []

    def update(self, frame: int, detections: Sequence[Detection]) -> list[TrackSegment]:
        """Take the detections of a frame.

        Args:
            frame: later than all before.
            detections: the largest face first.

        Returns:
            The boxes that are known now and were not before: up to `frame`, one segment for each track.
        """
        self._active = [track for track in self._active if frame - track.last_frame <= self.max_gap]
        matches = self._match(self._active, detections)
        segments = [_extend(track, frame, detections[index]) for index, track in sorted(matches.items())]
        for index, detection in enumerate(detections):
            if index not in matches and len(self._active) < MAX_ACTIVE_TRACKS:
                segments.append(self._start(frame, detection))
        return segments

    def _match(self, tracks: Sequence[Track], detections: Sequence[Detection]) -> dict[int, Track]:
        """Detection index -> track, best overlaps first; equal ones in the order of the tracks."""
        overlaps = [
            (-overlap(track.last_box, detection.box), order, index)
            for order, track in enumerate(tracks)
            for index, detection in enumerate(detections)
        ]
        matches: dict[int, Track] = {}
        matched_tracks: set[int] = set()
        for negative_overlap, order, index in sorted(overlaps):
            is_free = order not in matched_tracks and index not in matches
            if -negative_overlap >= self.min_overlap and is_free:
                matches[index] = tracks[order]
                matched_tracks.add(order)
        return matches

    def _start(self, frame: int, detection: Detection) -> TrackSegment:
        box = detection.box
        track = Track(len(self.tracks), frame, frame, box, box, detection.score, detection.roll_rad)
        track.sum_area, track.sum_centre_x = area(box), (box[0] + box[2]) / 2
        self.tracks.append(track)
        self._active.append(track)
        boxes, values = np.array([box], np.float32), np.array([[detection.score], [detection.roll_rad]], np.float32)
        return TrackSegment(track.number, frame, boxes, values[0], values[1])


def _extend(track: Track, frame: int, detection: Detection) -> TrackSegment:
    """Continue `track` to `frame`: the boxes after its last one, interpolated up to the detected one."""
    steps = np.arange(1, frame - track.last_frame + 1) / (frame - track.last_frame)
    before, after = np.array(track.last_box), np.array(detection.box)
    boxes = before + steps[:, None] * (after - before)
    scores = np.full(len(steps), min(track.last_score, detection.score), np.float32)
    scores[-1] = detection.score
    turn = math.remainder(detection.roll_rad - track.last_roll_rad, math.tau)  # the shorter way round
    rolls = (track.last_roll_rad + steps * turn).astype(np.float32)
    segment = TrackSegment(track.number, track.last_frame + 1, boxes.astype(np.float32), scores, rolls)
    track.num_frames += len(steps)
    track.sum_area += float(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum())
    track.sum_centre_x += float((boxes[:, 0] + boxes[:, 2]).sum() / 2)
    track.last_frame, track.last_box = frame, detection.box
    track.last_score, track.last_roll_rad = detection.score, detection.roll_rad
    return segment


def choose_person(tracks: Sequence[Track], choose: Choice) -> list[Track]:
    """The tracks of one person, in time order; empty when there are no tracks.

    Tracks are first grouped into persons: a track continues a person whose last track ended before it began, if it
    begins where that one ended: centres at most one box side apart, sizes within a factor of two. The time between
    them does not matter, nor whether the scene was cut meanwhile. A face that comes back elsewhere counts as another
    person, because faces are not compared by what they look like. Then, among persons visible for at least a fifth as
    long as the longest, `choose` decides: "longest" by frames, "largest" by mean area, "left" and "right" by mean
    centre. Of equals the earliest is chosen.
    """
    return choose_by_rule(group_into_persons(tracks), choose)


def choose_by_rule(persons: Sequence[list[Track]], choose: Choice) -> list[Track]:
    """The person that `choose` names, see `choose_person`; empty when there are no persons."""
    longest = max((_num_frames(person) for person in persons), default=0)
    candidates = [person for person in persons if _num_frames(person) >= MIN_SHARE_OF_LONGEST * longest]
    measure = {
        "longest": _num_frames,
        "largest": lambda person: sum(track.sum_area for track in person) / _num_frames(person),
        "left": lambda person: -_centre_x(person),
        "right": _centre_x,
    }[choose]
    return max(candidates, key=measure, default=[])  # max takes the first of equals, and persons are in time order


def group_into_persons(tracks: Sequence[Track]) -> list[list[Track]]:
    """The tracks of each person, see `choose_person`; persons in the order of their first frames."""
    persons: list[list[Track]] = []
    for track in sorted(tracks, key=lambda track: (track.first_frame, track.number)):
        earlier = [person for person in persons if _continues(person[-1], track)]
        if earlier:
            min(earlier, key=lambda person: distance(person[-1].last_box, track.first_box)).append(track)
        else:
            persons.append([track])
    return persons


def _continues(before: Track, after: Track) -> bool:
    return after.first_frame > before.last_frame and is_near(before.last_box, after.first_box)


def is_near(first: Box, second: Box) -> bool:
    """Whether two boxes may be one person at two times: of similar size, centres at most one side apart."""
    return is_similar_size(first, second) and distance(first, second) <= max(_side(first), _side(second))


def is_similar_size(first: Box, second: Box) -> bool:
    """Whether the sizes are within a factor of two."""
    return 0.5 <= _side(first) / _side(second) <= 2.0


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (area(first) + area(second) - shared) if shared else 0.0


def distance(first: Box, second: Box) -> float:
    """Distance of the centres of two boxes, in pixels."""
    return float(np.hypot(first[0] + first[2] - second[0] - second[2], first[1] + first[3] - second[1] - second[3]) / 2)


def _num_frames(person: Sequence[Track]) -> int:
    return sum(track.num_frames for track in person)


def _centre_x(person: Sequence[Track]) -> float:
    return sum(track.sum_centre_x for track in person) / _num_frames(person)


def _side(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1], 1e-6)
