"""Every person with a box is described, with the reason why they were not followed."""

import numpy as np
import pytest

from pipeline.media.faces.anchor_distance import nearest_tracks
from pipeline.media.faces.crop_store import CROP_DTYPE
from pipeline.media.faces.detect import Detection
from pipeline.media.faces.track import Tracker, choose_person
from pipeline.media.faces.visible import visible_faces
from pipeline.media.options import PersonRule
from pipeline.records import AnchorPoint

TIMES_S = np.arange(100) / 25


def rows_and_tracks(*people):
    """Rows and tracks of `people`: (x, side, first frame, stop frame) of a square face that stays where it is."""
    tracker, rows = Tracker(min_overlap=0.3, max_gap=5), []
    for frame in range(len(TIMES_S)):
        there = [(x, side) for x, side, first, stop in people if first <= frame < stop]
        for segment in tracker.update(frame, [Detection((x, 0.0, x + side, side), 0.8) for x, side in there]):
            for i, box in enumerate(segment.boxes):
                rows.append((segment.track, segment.first_frame + i, box, segment.scores[i], 0, 0))
    return np.array(rows, CROP_DTYPE), tracker.tracks


def faces_of(people, choose="longest", anchor=(), **context):
    rows, tracks = rows_and_tracks(*people)
    if anchor:
        followed = rows[nearest_tracks(rows, anchor, TIMES_S, [])]
    else:
        followed = rows[np.isin(rows["track"], [track.number for track in choose_person(tracks, choose)])]
    return visible_faces(rows, followed, tracks, PersonRule(choose, anchor), TIMES_S, [], **context)


@pytest.mark.parametrize(
    ("choose", "x", "reason"),
    [
        ("longest", 0, "another person is visible for longer"),
        ("largest", 300, "another person is larger"),
        ("left", 0, "another person is further left"),
        ("right", 300, "another person is further right"),
    ],
)
def test_the_rule_is_the_reason_why_a_face_was_not_followed(choose, x, reason):
    followed, other = faces_of([(0.0, 40.0, 0, 100), (300.0, 60.0, 10, 80)], choose)
    assert (followed.x0, followed.reason, followed.num_followed) == (x, "followed", followed.num_frames)
    assert (other.reason, other.num_followed) == (reason, 0)


def test_times_boxes_and_scores_are_those_of_the_face():
    _, other = faces_of([(0.0, 40.0, 0, 100), (300.0, 60.0, 10, 80)])
    assert (other.start_s, other.stop_s, other.num_frames) == (0.4, 3.2, 70)
    assert (other.x0, other.y0, other.x1, other.y1, other.score) == (300.0, 0.0, 360.0, 60.0, 0.8)


def test_a_face_that_passes_by_is_reported_as_such():
    _, other = faces_of([(0.0, 40.0, 0, 100), (300.0, 60.0, 10, 20)], "right")
    assert other.reason == "visible for less than 20% of the longest"


def test_a_person_who_comes_back_is_one_face():
    (only,) = faces_of([(0.0, 40.0, 0, 30), (5.0, 40.0, 60, 100)])
    assert (only.start_s, only.stop_s, only.num_frames, only.num_followed) == (0.0, 4.0, 70, 70)


def test_a_face_far_from_the_anchor_has_the_distance_as_its_reason():
    anchor = (AnchorPoint(0.0, 300.0, 0.0, 340.0, 40.0),)
    followed, other = faces_of([(0.0, 40.0, 0, 100), (300.0, 40.0, 10, 80)], anchor=anchor)
    assert (followed.x0, other.x0) == (300.0, 0.0)
    assert other.reason == "7.5 face sides from the anchor, allowed is 1"


def test_of_two_faces_near_the_anchor_the_nearer_is_followed():
    anchor = (AnchorPoint(0.0, 300.0, 0.0, 340.0, 40.0),)
    _, other = faces_of([(300.0, 40.0, 0, 100), (335.0, 40.0, 0, 100)], anchor=anchor)
    assert (other.x0, other.reason) == (335.0, "another person is nearer to the anchor")


def test_the_context_is_not_described():
    (only,) = faces_of([(0.0, 40.0, 0, 100), (300.0, 60.0, 10, 30)], num_context=31)
    assert (only.start_s, only.num_frames, only.num_followed) == (1.24, 69, 69)
    assert faces_of([]) == ()


def test_the_reason_is_that_of_the_choice_which_saw_the_context_too():
    anchor = (AnchorPoint(0.0, 0.0, 0.0, 40.0, 40.0), AnchorPoint(1.2, 300.0, 0.0, 340.0, 40.0))
    (other,) = faces_of([(300.0, 40.0, 0, 100)], anchor=anchor, num_context=31)
    assert other.num_followed == 0
    assert other.reason.endswith("face sides from the anchor, allowed is 1")
