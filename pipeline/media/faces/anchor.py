"""The anchor of a video: where the person to follow is on its keyframes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.media.faces.cuts import is_same_scene
from pipeline.media.faces.detect import Box, Detection, Detector, area
from pipeline.media.faces.track import Track, choose_by_rule, distance, is_near, is_similar_size
from pipeline.media.keyframes import KeyframeReader
from pipeline.media.options import Choice, DecodeOptions
from pipeline.records import AnchorPoint, Probe

LONGEST_STEP_S = 10.0  # a face counts until the next keyframe, but no longer than this


@dataclass(frozen=True, slots=True)
class _Keyframe:
    """The faces on one keyframe, and whether it shows the scene of the keyframe before."""

    faces: list[Detection]
    same_scene: bool


def find_anchor(
    path: Path, probe: Probe, *, detector: Detector, decode: DecodeOptions, choose: Choice, min_score: float
) -> tuple[AnchorPoint, ...]:
    """Find the person that `choose` names on the keyframes of a video.

    All spans of the video that are read with this anchor follow the same person. Persons are told apart by position
    and size alone: a face near the position of a person's last one is that person's, and so is the only face that
    is not matched yet while the scene stays the same. Two persons of one size who change places between two keyframes
    cannot be told from two who stay.

    Args:
        path: of the media file.
        probe: of this file.
        detector: of faces.
        decode: the executable and its timeout.
        choose: the rule, see `choose_person`.
        min_score: detections below it are dropped.

    Returns:
        The person's boxes, in the order of time; empty when no keyframe shows a face.

    Raises:
        Rejection: ("decode", "timeout").
    """
    keyframes: list[_Keyframe] = []
    previous = None
    with KeyframeReader(path, probe, decode) as reader:
        for picture in reader:
            faces = [face for face in detector.detect(picture) if face.score >= min_score]
            keyframes.append(_Keyframe(faces, previous is not None and is_same_scene(previous, picture)))
            previous = picture
    scale = probe.width_px / reader.size_px[0], probe.height_px / reader.size_px[1]
    return tuple(
        AnchorPoint(float(reader.times_s[index]), *(float(value) for value in np.array(box) * (scale * 2)))
        for index, box in _boxes_of_person(keyframes, reader.times_s, choose)
    )


def _boxes_of_person(
    keyframes: Sequence[_Keyframe], times_s: NDArray[np.float64], choose: Choice
) -> list[tuple[int, Box]]:
    """(keyframe, box) of every keyframe that shows the person that `choose` names.

    A person is a Track whose frames are keyframes and whose sums are over milliseconds.
    """
    durations_ms = _durations_ms(times_s)
    persons: list[Track] = []
    boxes: dict[int, list[tuple[int, Box]]] = {}
    for now, keyframe in enumerate(keyframes):
        matches = _match(persons, keyframe, now)
        for index, face in enumerate(keyframe.faces):
            person = matches.get(index)
            if person is None:
                person = Track(len(persons), now, now, face.box, face.box, face.score, face.roll_rad, num_frames=0)
                persons.append(person)
            person.last_frame, person.last_box = now, face.box
            person.num_frames += int(durations_ms[now])
            person.sum_area += float(durations_ms[now]) * area(face.box)
            person.sum_centre_x += float(durations_ms[now]) * (face.box[0] + face.box[2]) / 2
            boxes.setdefault(person.number, []).append((now, face.box))
    chosen = choose_by_rule([[person] for person in persons], choose)
    return boxes[chosen[0].number] if chosen else []


def _durations_ms(times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) how long each keyframe counts: until the next one, the last one as long as the median."""
    steps_s = [min(after - before, LONGEST_STEP_S) for before, after in pairwise(times_s)]
    return np.maximum(1, np.rint(np.array([*steps_s, np.median(steps_s or [1.0])]) * 1000)).astype(np.int64)


def _match(persons: Sequence[Track], keyframe: _Keyframe, now: int) -> dict[int, Track]:
    """Index of a face -> person: of the keyframe before at this position, else of any before it; the nearest first.

    Then, while the scene is the same, the only face without a match is the only person without one, at any distance.
    """
    candidates = sorted(
        (
            person.last_frame < now - 1 or not keyframe.same_scene,
            distance(person.last_box, face.box),
            person.number,
            index,
        )
        for person in persons
        for index, face in enumerate(keyframe.faces)
        if is_near(person.last_box, face.box)
    )
    matches: dict[int, Track] = {}
    for _, _, number, index in candidates:
        if index not in matches and persons[number] not in matches.values():
            matches[index] = persons[number]
    free_faces = [index for index in range(len(keyframe.faces)) if index not in matches]
    free_persons = [person for person in persons if person.last_frame == now - 1 and person not in matches.values()]
    if keyframe.same_scene and len(free_faces) == len(free_persons) == 1:
        (index,), (person,) = free_faces, free_persons
        if is_similar_size(person.last_box, keyframe.faces[index].box):
            matches[index] = person
    return matches
