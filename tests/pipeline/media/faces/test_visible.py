"""Everybody who has a box is told of, with the reason why they were not followed."""

import numpy as np
import pytest

from pipeline.media.faces.anchor import nearest_tracks
from pipeline.media.faces.detect import Detection
from pipeline.media.faces.follow import CROP_DTYPE
from pipeline.media.faces.track import Tracker, choose_person
from pipeline.media.faces.visible import visible_faces
from pipeline.records import AnchorPoint

TIMES_S = np.arange(100) / 25


def rows_and_tracks(*people):
    """Rows and tracks of `people`: (x, side, first frame, stop frame) of a square face that stays where it is."""
    tracker, rows = Tracker(min_overlap=0.3, max_gap=5), []
    for frame in range(len(TIMES_S)):
        there = [(x, side) for x, side, first, stop in people if first <= frame < stop]
        for known in tracker.update(frame, [Detection((x, 0.0, x + side, side), 0.8) for x, side in there]):
            for i, box in enumerate(known.boxes):
                rows.append((known.track, known.first + i, box, known.scores[i], 0, 0))
    return np.array(rows, CROP_DTYPE), tracker.tracks


def told(people, choose="longest", anchor=(), **context):
    rows, tracks = rows_and_tracks(*people)
    if anchor:
        followed = rows[nearest_tracks(rows, anchor, TIMES_S, [])]
    else:
        followed = rows[np.isin(rows["track"], [track.number for track in choose_person(tracks, choose)])]
    return visible_faces(rows, followed, tracks, choose, anchor, TIMES_S, [], **context)


@pytest.mark.parametrize(
    ("choose", "x", "why"),
    [
        ("longest", 0, "not longer"),
        ("largest", 300, "not larger"),
        ("left", 0, "not further left"),
        ("right", 300, "not further right"),
    ],
)
def test_the_rule_says_why_somebody_was_not_followed(choose, x, why):
    followed, other = told([(0.0, 40.0, 0, 100), (300.0, 60.0, 10, 80)], choose)
    assert (followed.x0, followed.why, followed.num_followed) == (x, "followed", followed.num_frames)
    assert (other.why, other.num_followed) == (why, 0)


def test_times_boxes_and_scores_are_those_of_the_face():
    _, other = told([(0.0, 40.0, 0, 100), (300.0, 60.0, 10, 80)])
    assert (other.start_s, other.stop_s, other.num_frames) == (0.4, 3.2, 70)
    assert (other.x0, other.y0, other.x1, other.y1, other.score) == (300.0, 0.0, 360.0, 60.0, 0.8)


def test_somebody_who_passes_by_is_said_to():
    _, other = told([(0.0, 40.0, 0, 100), (300.0, 60.0, 10, 20)], "right")
    assert other.why == "seen for less than 20% of the longest"


def test_somebody_who_comes_back_is_one_face():
    (only,) = told([(0.0, 40.0, 0, 30), (5.0, 40.0, 60, 100)])
    assert (only.start_s, only.stop_s, only.num_frames, only.num_followed) == (0.0, 4.0, 70, 70)


def test_the_anchor_says_who_is_too_far_away():
    anchor = (AnchorPoint(0.0, 300.0, 0.0, 340.0, 40.0),)
    followed, other = told([(0.0, 40.0, 0, 100), (300.0, 40.0, 10, 80)], anchor=anchor)
    assert (followed.x0, other.x0) == (300.0, 0.0)
    assert other.why == "7.5 face sides from the anchor, allowed is 1"


def test_the_anchor_says_who_is_nearer():
    anchor = (AnchorPoint(0.0, 300.0, 0.0, 340.0, 40.0),)
    _, other = told([(300.0, 40.0, 0, 100), (335.0, 40.0, 0, 100)], anchor=anchor)
    assert (other.x0, other.why) == (335.0, "somebody else is nearer to the anchor")


def test_of_the_context_nothing_is_told():
    (only,) = told([(0.0, 40.0, 0, 100), (300.0, 60.0, 10, 30)], num_context=31)
    assert (only.start_s, only.num_frames, only.num_followed) == (1.24, 69, 69)
    assert told([]) == ()


def test_the_reason_is_that_of_the_choice_which_saw_the_context_too():
    anchor = (AnchorPoint(0.0, 0.0, 0.0, 40.0, 40.0), AnchorPoint(1.2, 300.0, 0.0, 340.0, 40.0))
    (other,) = told([(300.0, 40.0, 0, 100)], anchor=anchor, num_context=31)
    assert other.num_followed == 0
    assert other.why.endswith("face sides from the anchor, allowed is 1")
