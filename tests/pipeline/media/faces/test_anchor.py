"""Spans of a video that are read by themselves follow the person whom the whole video follows."""

import subprocess
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline.media.container.probe import probe
from pipeline.media.faces.anchor import find_anchor
from pipeline.media.faces.anchor_distance import nearest_tracks
from pipeline.media.faces.detect import Detection, make_detector
from pipeline.media.options import WHOLE_VIDEO, ClockSpan, PersonRule
from pipeline.media.read_video import read_video
from pipeline.records import AnchorPoint, Rejection
from pipeline.synthetic.clip import ClipSpec, make_clip
from tests.support.media_files import write_media
from tests.support.media_options import DECODE, VIDEO, change_options

OPTIONS = change_options(VIDEO, crop_px=32, jpeg_quality=80)
SIDE, NUM_FRAMES, LENGTH = 40, 300, 75


class FakeDetector:
    """Takes bright blobs for faces."""

    def detect(self, picture):
        _, _, stats, _ = cv2.connectedComponentsWithStats((picture.y > 120).astype(np.uint8))
        blobs = [tuple(map(float, row[:4])) for row in stats[1:] if row[4] > 100]
        return [Detection((x, y, x + w, y + h), 0.9) for x, y, w, h in sorted(blobs, key=lambda b: -b[2] * b[3])]


def film(path, *people):
    """A clip of `people`: functions of the frame that give the place of a bright square, or None."""
    pictures = []
    for i in range(NUM_FRAMES):
        picture = np.tile(np.linspace(20, 90, 320, dtype=np.uint8), (240, 1))
        for position in filter(None, (person(i) for person in people)):
            x, y = (round(value) for value in position)
            picture[y : y + SIDE, x : x + SIDE] = 200
        pictures.append(picture)
    return write_media(path, pictures, [i * 40 for i in range(NUM_FRAMES)])


def scan(path, choose, detector=None, min_score=0.5, decode=DECODE):
    probed = probe(path, max_duration_s=100)
    detector = detector or FakeDetector()
    return find_anchor(path, probed, detector=detector, decode=decode, choose=choose, min_score=min_score)


def read(path, directory, rule, span=WHOLE_VIDEO, detector=None, **changes):
    directory.mkdir(exist_ok=True)
    options, probed = change_options(OPTIONS, **changes), probe(path, max_duration_s=100)
    detector = detector or FakeDetector()
    return read_video(path, probed, options, detector=detector, directory=directory, rule=rule, span=span)


def read_spans(path, directory, rule, num_frames=NUM_FRAMES, **changes):
    spans = [ClockSpan(start, min(start + LENGTH, num_frames)) for start in range(0, num_frames, LENGTH)]
    return np.concatenate([read(path, directory, rule, span, **changes).frames for span in spans])


def sits(x, y=100.0):
    return lambda _: (x, y)


def leaves(x, first, last):
    return lambda i: None if first <= i < last else (x, 100.0)


def walks(x0, x1, y, first, last):
    """Goes from one side to the other on a curve that meets no other person."""

    def position(i):
        share = np.clip((i - first) / (last - first), 0, 1)
        return x0 + share * (x1 - x0), 100 + y * np.sin(np.pi * share)

    return position


SCENES = {
    "both stay": (sits(60), sits(220)),
    "the left one leaves": (leaves(60, 100, 240), sits(220)),
    "they change sides": (walks(60, 220, -80, 60, 230), walks(220, 60, 80, 60, 230)),
}


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("choose", ["left", "right"])
def test_every_span_follows_the_same_person(name, choose, tmp_path):
    people = SCENES[name]
    path = film(tmp_path / "clip.mp4", *people)
    anchor = scan(path, choose)
    person = people[0 if choose == "left" else 1]
    if name == "they change sides":  # their mean positions are nearly equal: either may be chosen
        person = people[0 if anchor[0].x0 < 160 else 1]
    whole = read(path, tmp_path / "work", PersonRule(choose, anchor))
    spans = read_spans(path, tmp_path / "work", PersonRule(choose, anchor))
    assert whole.followed == f"{choose} by anchor"
    for frames in (whole.frames, spans):
        positions = [person(i) for i in range(NUM_FRAMES)]
        assert frames["face_ok"].tolist() == [position is not None for position in positions]
        expected = np.array([position or (np.nan, np.nan) for position in positions])
        assert np.nanmax(np.abs(frames["box"][:, :2] - expected)) < 2
    assert np.array_equal(spans["source_index"], whole.frames["source_index"])


def test_without_an_anchor_a_span_follows_whom_it_finds(tmp_path):
    path = film(tmp_path / "clip.mp4", *SCENES["the left one leaves"])
    alone = read(path, tmp_path / "work", PersonRule("left"), ClockSpan(150, 225))
    assert alone.followed == "left"
    assert alone.frames["box"][:, 0] == pytest.approx(220, abs=2)
    anchored = read(path, tmp_path / "work", PersonRule("left", scan(path, "left")), ClockSpan(150, 225))
    assert not anchored.frames["face_ok"].any()
    assert anchored.mjpeg_path.read_bytes() == b""


def test_an_anchor_has_positions_and_times_of_the_upright_picture(tmp_path):
    path = film(tmp_path / "clip.mkv", walks(20, 260, 0, 0, NUM_FRAMES - 1))
    anchor = scan(path, "longest")
    times = [point.time_s for point in anchor]
    assert np.diff(times).min() >= 0.5
    assert len(anchor) >= 10
    for point in anchor:
        x, y = walks(20, 260, 0, 0, NUM_FRAMES - 1)(point.time_s * 25)
        assert (point.x0, point.y0, point.x1, point.y1) == pytest.approx((x, y, x + SIDE, y + SIDE), abs=2)


def test_no_face_is_no_anchor(tmp_path):
    assert scan(film(tmp_path / "clip.mp4"), "largest") == ()


def test_a_scan_that_takes_too_long_is_a_rejection(tmp_path):
    with pytest.raises(Rejection, match="decode: timeout: keyframes"):
        scan(film(tmp_path / "clip.mp4", sits(60)), "largest", decode=replace(DECODE, timeout_s=0.001))


ROW = np.dtype([("track", "<i4"), ("frame", "<i4"), ("box", "<f4", (4,))])


def rows_of(*tracks):
    rows = [
        (number, frame, (x, 0, x + 10, 10))
        for number, (frames, positions) in enumerate(tracks)
        for frame, x in zip(frames, np.broadcast_to(positions, len(frames)), strict=True)
    ]
    return np.array(sorted(rows, key=lambda row: row[1]), ROW)


def point(time_s, x, side=10.0):
    return AnchorPoint(time_s, x, 0.0, x + side, side)


TIMES_S = np.arange(100) / 25


def chosen(rows, anchor, cuts=()):
    return sorted({int(track) for track in rows["track"][nearest_tracks(rows, anchor, TIMES_S, cuts)]})


def test_the_nearest_track_is_the_person():
    rows = rows_of((range(100), 0.0), (range(100), 30.0))
    assert chosen(rows, [point(1.0, 3.0)]) == [0]
    assert chosen(rows, [point(1.0, 28.0)]) == [1]
    assert chosen(rows, [point(1.0, 15.0)]) == []
    assert chosen(rows, [point(1.0, 0.0, side=25.0)]) == []  # another size


def test_no_person_is_counted_twice_in_a_frame():
    rows = rows_of((range(60), 0.0), (range(40, 100), 4.0))
    nearest = nearest_tracks(rows, [point(0.0, 0.0)], TIMES_S, [])
    assert np.bincount(rows["frame"][nearest]).max() == 1
    assert rows["frame"][nearest].tolist() == list(range(100))


def test_the_points_of_an_anchor_are_of_their_own_scene():
    rows = rows_of((range(50), 0.0), (range(50), 40.0), (range(50, 100), 0.0), (range(50, 100), 40.0))
    anchor = [point(0.4, 0.0), point(3.6, 40.0)]
    assert chosen(rows, anchor, cuts=[50]) == [0, 3]


def test_one_who_walks_between_two_keyframes_is_followed():
    there = np.linspace(0, 90, 100)
    rows = rows_of((range(100), there), (range(100), there[::-1]))
    assert chosen(rows, [point(0.0, 0.0), point(4.0, 90.0)]) == [0]


@pytest.mark.parametrize("name", ["haar", "yunet"])
def test_drawn_people_side_by_side(name, request, tmp_path):
    model = request.getfixturevalue("yunet")[0] if name == "yunet" else None
    detector = make_detector(name, model_path=model, long_side_px=0, min_score=0.6)
    clips = [make_clip(ClipSpec(i, 0, 7, 6.0, 320, 240, 25.0, 16000), tmp_path, DECODE.ffmpeg) for i in (1, 3)]
    inputs = [argument for clip in clips for argument in ("-i", tmp_path / clip.files[0])]
    graph = "[0:v]drawbox=color=gray:t=fill:enable='gte(t,3)'[left];[left][1:v]hstack"
    path = tmp_path / "pair.mp4"
    command = [DECODE.ffmpeg, "-v", "error", *inputs, "-filter_complex", graph, "-an", "-g", "25", path]
    subprocess.run(command, check=True)
    quick = {"detector": detector, "detect_every": 15, "min_score": 0.6}
    anchor = scan(path, "left", detector, min_score=0.6)
    frames = read_spans(path, tmp_path / "work", PersonRule("left", anchor), num_frames=150, **quick)
    assert frames["face_ok"][:75].mean() > 0.9
    assert np.nanmax(frames["box"][:, 2]) < 330
    assert not frames["face_ok"][75:].any()
    assert read(path, tmp_path / "work", PersonRule("left"), ClockSpan(80), **quick).frames["box"][:, 0].min() > 310
