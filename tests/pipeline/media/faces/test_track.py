from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media.faces.detect import Detection
from pipeline.media.faces.track import MAX_ACTIVE_TRACKS, Tracker, choose_person, overlap


def face(x, y=100.0, side=50.0, score=0.9):
    return Detection((x, y, x + side, y + side), score)


def follow(faces, *, max_gap=10):
    """Tracker and segments after detections given as {frame: faces}."""
    tracker = Tracker(min_overlap=0.3, max_gap=max_gap)
    return tracker, [segment for frame in sorted(faces) for segment in tracker.update(frame, faces[frame])]


def frames_of(segments, track):
    return [
        frame
        for segment in segments
        if segment.track == track
        for frame in range(segment.first_frame, segment.first_frame + len(segment.boxes))
    ]


def test_boxes_between_detections_lie_on_a_line():
    _, segments = follow({0: [face(0, score=0.9)], 4: [face(8, y=104, score=0.7)]})
    assert [segment.first_frame for segment in segments] == [0, 1]
    assert segments[1].boxes.tolist() == [[2.0 * i, 100.0 + i, 50 + 2.0 * i, 150.0 + i] for i in (1, 2, 3, 4)]
    assert segments[1].scores.tolist() == pytest.approx([0.7] * 4)


@pytest.mark.parametrize(("gap", "num_tracks"), [(10, 1), (11, 2)])
def test_a_longer_gap_is_not_filled(gap, num_tracks):
    tracker, segments = follow({0: [face(0)], gap: [face(0)]})
    assert len(tracker.tracks) == num_tracks
    assert sum(len(segment.boxes) for segment in segments) == (gap + 1 if num_tracks == 1 else 2)


def test_a_jump_is_another_track():
    tracker, _ = follow({0: [face(0)], 5: [face(300)]})
    assert len(tracker.tracks) == 2


def test_two_people_keep_their_tracks_in_any_order():
    tracker, segments = follow({0: [face(0), face(40)], 5: [face(44), face(6)], 10: [face(12), face(50)]})
    assert [track.last_box[0] for track in tracker.tracks] == [12, 50]
    assert frames_of(segments, 0) == frames_of(segments, 1) == list(range(11))


def test_a_crowd_is_limited_to_the_first_detections():
    tracker, _ = follow({0: [face(100 * i) for i in range(9)]})
    assert [track.first_box[0] for track in tracker.tracks] == [100 * i for i in range(MAX_ACTIVE_TRACKS)]


def test_faces_are_the_same_only_while_none_appears_or_disappears():
    tracker, _ = follow({0: [face(0), face(200)]})
    assert tracker.has_same_faces([face(2), face(199)], since_frame=0)
    assert not tracker.has_same_faces([face(2)], since_frame=0)
    assert not tracker.has_same_faces([face(2), face(199), face(400)], since_frame=0)
    assert not tracker.has_same_faces([face(2), face(400)], since_frame=0)
    tracker.update(5, [face(2)])
    assert tracker.has_same_faces([face(3)], since_frame=5)  # a face that disappeared before is not waited for
    assert not tracker.has_same_faces([face(3), face(199)], since_frame=5)


def steady(x, frames, **shape):
    return {frame: [face(x, **shape)] for frame in frames}


def merge(*many):
    frames = sorted({frame for faces in many for frame in faces})
    return {frame: [found for faces in many for found in faces.get(frame, [])] for frame in frames}


@pytest.mark.parametrize(("choose", "x"), [("longest", 100), ("largest", 300), ("left", 0), ("right", 300)])
def test_the_rule_decides_who_is_followed(choose, x):
    faces = merge(
        steady(0, range(0, 100, 5)), steady(100, range(0, 200, 5)), steady(300, range(0, 60, 5), side=90.0),
        steady(500, range(0, 30, 5), side=120.0),  # large and far right, but hardly there
    )  # fmt: skip
    tracker, _ = follow(faces)
    chosen = choose_person(tracker.tracks, choose)
    assert {track.first_box[0] for track in chosen} == {x}


def test_equals_are_decided_by_who_came_first():
    tracker, _ = follow(merge(steady(300, range(0, 50, 5)), steady(0, range(1, 51, 5))))
    assert [track.first_frame for track in choose_person(tracker.tracks, "longest")] == [0]


def test_who_comes_back_to_the_same_position_is_the_same_person():
    faces = steady(0, range(0, 50, 5)) | steady(20, range(200, 260, 5), side=60.0)
    tracker, _ = follow(faces)
    assert [track.first_frame for track in choose_person(tracker.tracks, "longest")] == [0, 200]


@pytest.mark.parametrize("back", [{"x": 160}, {"x": 0, "side": 110.0}, {"x": 0, "side": 20.0}])
def test_who_comes_back_elsewhere_or_otherwise_is_another_person(back):
    tracker, _ = follow(steady(0, range(0, 50, 5)) | steady(frames=range(200, 230, 5), **back))
    assert [track.first_frame for track in choose_person(tracker.tracks, "longest")] == [0]


def test_no_person_is_in_two_tracks_at_once():
    faces = merge(steady(0, range(0, 100, 5)), steady(45, range(50, 200, 5)))
    tracker, _ = follow(faces)
    chosen = choose_person(tracker.tracks, "longest")
    assert [track.number for track in chosen] == [1]


def test_no_tracks_no_person():
    assert choose_person([], "largest") == []


@given(st.lists(st.tuples(st.integers(1, 8), st.lists(st.integers(0, 300), max_size=6)), max_size=30))
def test_no_frame_is_twice_in_a_track_and_order_holds(steps):
    tracker = Tracker(min_overlap=0.3, max_gap=10)
    frame, frames_of_track = 0, {}
    for step, positions in steps:
        frame += step
        for segment in tracker.update(frame, [face(float(x)) for x in positions]):
            frames = frames_of_track.setdefault(segment.track, [])
            fresh = list(range(segment.first_frame, segment.first_frame + len(segment.boxes)))
            assert fresh[-1] == frame
            assert not frames or fresh[0] == frames[-1] + 1
            assert len(fresh) <= tracker.max_gap
            assert np.isfinite(segment.boxes).all()
            frames += fresh
    for track in tracker.tracks:
        assert frames_of_track[track.number] == list(range(track.first_frame, track.last_frame + 1))
        assert track.num_frames == len(frames_of_track[track.number])
    chosen = choose_person(tracker.tracks, "longest")
    assert all(before.last_frame < after.first_frame for before, after in pairwise(chosen))


def test_overlap():
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (2, 0, 3, 2)) == 0
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_no_track_goes_on_in_another_scene():
    tracker, _ = follow({0: [face(0)], 5: [face(2)]})
    tracker.end_scene()
    (segment,) = tracker.update(6, [face(2)])
    assert (segment.track, segment.first_frame, len(segment.boxes)) == (1, 6, 1)
    assert tracker.has_same_faces([face(2)], since_frame=6)


@pytest.mark.parametrize(("before", "after", "between"), [(0.1, 0.3, 0.2), (3.0, -3.0, np.pi), (0.1, np.nan, np.nan)])
def test_slopes_between_detections_go_the_shorter_way_round(before, after, between):
    first, last = (replace(face(0), roll_rad=roll) for roll in (before, after))
    _, (start, rest) = follow({0: [first], 2: [last]})
    assert start.rolls_rad.tolist() == pytest.approx([before])
    assert np.cos(rest.rolls_rad) == pytest.approx(np.cos([between, after]), nan_ok=True)
