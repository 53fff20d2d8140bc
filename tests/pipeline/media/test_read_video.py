import hashlib
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline.media.container.probe import probe
from pipeline.media.faces.detect import Detection
from pipeline.media.options import PersonRule
from pipeline.media.read_video import read_video
from pipeline.records import Rejection
from tests.support.media_files import tone, write_media
from tests.support.media_options import VIDEO, change_options

SIDE = 40


class FakeDetector:
    """Takes bright blobs for faces, and counts its calls."""

    def __init__(self, blind=()):
        self.num_calls, self.blind = 0, set(blind)

    def detect(self, picture):
        self.num_calls += 1
        if self.num_calls - 1 in self.blind:
            return []
        _, _, stats, _ = cv2.connectedComponentsWithStats((picture.y > 120).astype(np.uint8))
        blobs = [tuple(map(float, row[:4])) for row in stats[1:] if row[4] > 100]
        return [Detection((x, y, x + w, y + h), 0.9) for x, y, w, h in sorted(blobs, key=lambda b: -b[2] * b[3])]


def scene(*blobs, width=320, height=240):
    """A dark picture with bright squares at (x, y) or (x, y, side)."""
    picture = np.full((height, width), 40, np.uint8)
    for x, y, *side in blobs:
        size = side[0] if side else SIDE
        picture[round(y) : round(y) + size, round(x) : round(x) + size] = 200
    return picture


def write(tmp_path, scenes, times_ms=None, name="clip.mkv", **settings):
    times_ms = [i * 40 for i in range(len(scenes))] if times_ms is None else times_ms
    return write_media(tmp_path / name, scenes, times_ms, **settings)


def read(path, tmp_path, detector=None, choose="longest", **changes):
    directory = tmp_path / "work"
    directory.mkdir(exist_ok=True)
    options, probed = change_options(VIDEO, **changes), probe(path, max_duration_s=1000)
    detector, rule = detector or FakeDetector(), PersonRule(choose)
    return read_video(path, probed, options, detector=detector, directory=directory, rule=rule)


def crops_of(video):
    data = video.mjpeg_path.read_bytes()
    return {
        i: cv2.imdecode(np.frombuffer(data[row["offset"] :][: row["size"]], np.uint8), cv2.IMREAD_COLOR)
        for i, row in enumerate(video.frames)
        if row["size"]
    }


def test_a_moving_face_is_followed_on_every_frame(tmp_path):
    detector = FakeDetector()
    path = write(tmp_path, [scene((60 + 2 * i, 100 - i)) for i in range(53)])
    video = read(path, tmp_path, detector)
    frames = video.frames
    x = 60 + 2 * np.arange(53)
    y = 100 - np.arange(53)
    assert frames["face_ok"].all()
    assert np.abs(frames["box"] - np.stack([x, y, x + SIDE, y + SIDE], axis=1)).max() <= 1.5
    assert (frames["score"] == np.float32(0.9)).all()
    assert not frames["audio_ok"].any()
    assert frames["source_index"].tolist() == list(range(53))
    assert detector.num_calls == 11 + 1  # every fifth, the last one, and nothing in between
    assert (video.problem, video.duration_s, video.covered_s) == ("", pytest.approx(2.113), pytest.approx(2.113))
    for crop in crops_of(video).values():
        bright = np.argwhere(crop[..., 0] > 120)
        assert crop.shape == (64, 64, 3)
        assert np.abs(bright.mean(0) - 31.5).max() < 1.5
        assert np.abs(np.ptp(bright, axis=0) + 1 - 64 / 1.5).max() < 4


def test_the_members_follow_one_another_without_a_gap(tmp_path):
    video = read(write(tmp_path, [scene((100, 100))] * 20), tmp_path)
    sizes = video.frames["size"].astype(np.int64)
    assert video.frames["offset"].tolist() == (np.cumsum(sizes) - sizes).tolist()
    assert video.mjpeg_path.stat().st_size == sizes.sum()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["faces.mjpeg"]


@pytest.mark.parametrize("detect_every", [1, 5, 7])
def test_where_a_face_comes_and_goes_is_exact(detect_every, tmp_path):
    here = [13 <= i < 38 for i in range(60)]
    path = write(tmp_path, [scene((100, 100)) if face else scene() for face in here])
    video = read(path, tmp_path, detect_every=detect_every)
    assert video.frames["face_ok"].tolist() == here
    assert np.isnan(video.frames["box"][~video.frames["face_ok"]]).all()
    assert (video.frames["size"] > 0).tolist() == here


@pytest.mark.parametrize(("num_missing", "filled"), [(8, True), (20, False)])
def test_short_gaps_are_interpolated_and_long_ones_masked(num_missing, filled, tmp_path):
    scenes = [scene((60 + 2 * i, 100)) if not 20 <= i < 20 + num_missing else scene() for i in range(60)]
    frames = read(write(tmp_path, scenes), tmp_path).frames
    gap = slice(20, 20 + num_missing)
    assert frames["face_ok"][:20].all()
    assert frames["face_ok"][20 + num_missing :].all() == (num_missing < 20)  # then it is a side away: another face
    assert frames["face_ok"][gap].all() == filled
    assert frames["face_ok"][gap].any() == filled
    if filled:
        assert np.abs(frames["box"][:, 0] - (60 + 2 * np.arange(60))).max() <= 1.5


@pytest.mark.parametrize(("choose", "x"), [("longest", 20), ("left", 20), ("largest", 200), ("right", 200)])
def test_one_of_two_people_is_followed(choose, x, tmp_path):
    scenes = [scene((20, 60), (200, 100, 70)) if i >= 10 else scene((20, 60)) for i in range(40)]
    frames = read(write(tmp_path, scenes), tmp_path, choose=choose).frames
    assert np.nanmin(frames["box"][:, 0]) == pytest.approx(x, abs=2)
    assert np.nanmax(frames["box"][:, 0]) == pytest.approx(x, abs=2)
    assert frames["face_ok"].sum() == (40 if x == 20 else 30)


def test_before_a_late_picture_nothing_is_shown(tmp_path):
    times_ms = [852 + i * 40 for i in range(30)]
    path = write(tmp_path, [scene((100, 100))] * 30, times_ms, sound=tone(3.0), sound_at_ms=0)
    frames = read(path, tmp_path).frames
    assert frames["video_ok"].tolist() == frames["face_ok"].tolist() == [i >= 22 for i in range(len(frames))]
    assert frames["source_index"][:23].tolist() == [-1] * 22 + [0]
    assert frames["time_s"] == pytest.approx(np.arange(len(frames)) / 25)


def test_boxes_are_in_pixels_of_the_upright_picture(tmp_path):
    path = write(tmp_path, [scene((300, 400, 400), width=2400, height=1000)] * 6)
    frames = read(path, tmp_path).frames
    assert np.abs(frames["box"] - [300, 400, 700, 800]).max() < 3


def test_no_face_is_a_rejection_with_the_number_of_frames_searched(tmp_path):
    with pytest.raises(Rejection) as caught:
        read(write(tmp_path, [scene()] * 30), tmp_path)
    assert (caught.value.stage, caught.value.reason) == ("faces", "no_face")
    assert caught.value.detail == "no face in 30 frames"
    assert cv2.imdecode(np.frombuffer(caught.value.contact_sheet, np.uint8), cv2.IMREAD_COLOR) is not None
    assert list((tmp_path / "work").iterdir()) == []


def test_a_face_below_the_score_is_none(tmp_path):
    with pytest.raises(Rejection, match="no_face"):
        read(write(tmp_path, [scene((100, 100))] * 10), tmp_path, min_score=0.95)


def test_no_face_in_a_cut_file_tells_both(tmp_path):
    path = write(tmp_path, [scene()] * 100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(
        Rejection, match=r"no face in \d+ frames; the file ends at \d.\d\d s, its header promises 3.99 s"
    ):
        read(path, tmp_path)


def test_nothing_decodable_is_a_rejection(tmp_path):
    path = write(tmp_path, [np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)] * 10, name="clip.mp4")
    data = path.read_bytes()
    begin = data.index(b"mdat") + 4
    path.write_bytes(data[:begin] + bytes(data.index(b"moov") - 4 - begin) + data[data.index(b"moov") - 4 :])
    with pytest.raises(Rejection) as caught:
        read(path, tmp_path)
    assert (caught.value.stage, caught.value.reason) == ("decode", "undecodable")
    assert caught.value.detail.startswith("0 of 10 frames could be decoded")


class FakeSlowDetector(FakeDetector):
    def detect(self, picture):
        time.sleep(0.6)
        return super().detect(picture)


def test_too_slow_is_a_rejection_not_half_a_video(tmp_path):
    path = write(tmp_path, [scene((100, 100))] * 60)  # more than a pipe holds, so that ffmpeg has to wait
    with pytest.raises(Rejection, match=r"decode: timeout: not decoded within 0\.4 s"):
        read(path, tmp_path, FakeSlowDetector(), timeout_s=0.4)


def test_the_beginning_of_a_damaged_file_is_kept(tmp_path):
    noise = np.random.default_rng(0).integers(0, 60, (100, 240, 320), np.uint8)
    scenes = [np.maximum(scene((100, 100)), noise[i]) for i in range(100)]
    path = write(tmp_path, scenes, name="clip.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = read(path, tmp_path)
    assert "its header promises 3.99 s" in video.problem
    assert 30 < len(video.frames) < 70
    assert video.frames["face_ok"].all()
    assert (
        video.covered_s == pytest.approx(video.duration_s, abs=0.05) == pytest.approx(len(video.frames) / 25, abs=0.05)
    )


def test_the_same_file_gives_the_same_bytes(tmp_path):
    path = write(tmp_path, [scene((60 + i, 100), (200, 150, 30)) for i in range(30)])
    digests = set()
    for _ in range(2):
        video = read(path, tmp_path)
        digests.add(hashlib.sha256(video.frames.tobytes() + video.mjpeg_path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_blink_of_the_detector_is_bridged(tmp_path):
    detector = FakeDetector(blind=range(3, 7))
    video = read(write(tmp_path, [scene((60 + i, 100)) for i in range(50)]), tmp_path, detector)
    assert video.frames["face_ok"].all()


def shot(seed, *faces, num=20):
    """Scenes with a background of their own; cuts are found by it, faces by their brightness."""
    coarse = np.random.default_rng(seed).normal(60, 25, (6, 8)).astype(np.float32)
    background = np.clip(cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC), 20, 110).astype(np.uint8)
    return [np.maximum(scene(*(face(i) for face in faces)), background) for i in range(num)]


def test_nothing_is_interpolated_across_a_cut(tmp_path):
    """The face jumps by half its side at frame 23, which detection on every tenth frame alone would smooth."""
    scenes = shot(1, lambda i: (100, 100), num=23) + shot(2, lambda i: (120, 100), num=27)
    video = read(write(tmp_path, scenes), tmp_path, detect_every=10)
    assert video.num_cuts == 1
    assert video.frames["face_ok"].all()
    assert np.abs(video.frames["box"][:, 0] - np.where(np.arange(50) < 23, 100, 120)).max() <= 1.5


def test_who_is_gone_after_a_cut_is_masked_from_its_first_frame(tmp_path):
    scenes = shot(1, lambda i: (100, 100), num=23) + shot(2, num=8) + shot(3, lambda i: (104, 100), num=19)
    video = read(write(tmp_path, scenes), tmp_path, detect_every=10)
    assert video.num_cuts == 2
    assert video.frames["face_ok"].tolist() == [not 23 <= i < 31 for i in range(50)]


def test_fast_motion_is_no_cut(tmp_path):
    detector = FakeDetector()
    scenes = shot(1, lambda i: (140 + 60 * np.sin(i / 5), 100), num=60)
    video = read(write(tmp_path, scenes), tmp_path, detector, detect_every=2)
    assert video.num_cuts == 0
    assert detector.num_calls <= 60
    assert video.frames["face_ok"].all()


class FakeTiltedDetector(FakeDetector):
    """Finds eyes too: on a line that slopes by 0.4."""

    def detect(self, picture):
        return [replace(face, roll_rad=0.4) for face in super().detect(picture)]


def test_aligned_crops_are_turned_by_the_slope_of_the_eyes(tmp_path):
    bar = cv2.warpAffine(
        np.pad(np.full((16, 60), 200, np.uint8), ((72, 72), (50, 50)), constant_values=40),
        cv2.getRotationMatrix2D((80, 80), -np.degrees(0.4), 1.0),
        (160, 160),
        borderValue=40,
    )
    path = write(tmp_path, [np.pad(bar, ((40, 40), (80, 80)), constant_values=40)] * 6)
    heights = {}
    for align in (False, True):
        crops = crops_of(read(path, tmp_path, FakeTiltedDetector(), align=align))
        heights[align] = np.ptp(np.argwhere(crops[3][..., 0] > 120)[:, 0]) + 1
    assert heights[False] > 1.8 * heights[True]
    assert heights[True] == pytest.approx(16 * 64 / (1.5 * 61.5), abs=3)  # the bar's own, level in the crop


def test_a_detector_without_eyes_cannot_align(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be aligned: the detector does not find eyes; .* to yunet"):
        read(write(tmp_path, [scene((100, 100))] * 6), tmp_path, align=True)
