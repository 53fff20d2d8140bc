from itertools import pairwise

import cv2
import numpy as np
import pytest

from pipeline.media.faces.crop import cut_face, encode_jpeg
from pipeline.media.picture_stream import Picture


def picture(y, u=128, v=128):
    half = y.shape[0] // 2, y.shape[1] // 2
    return Picture(y, np.full(half, u, np.uint8), np.full(half, v, np.uint8))


def ramp(height=240, width=320, across=0.4, down=0.3):
    """Luma that grows linearly, so that the position of a crop can be read from its pixels."""
    rows, columns = np.mgrid[:height, :width]
    return (20 + across * columns + down * rows).astype(np.float32)


def luma(bgr):
    return bgr[..., 1].astype(float) * 219 / 255 + 16


@pytest.mark.parametrize("side", [20, 50.5, 100, 160.25])
@pytest.mark.parametrize(("x", "y"), [(60, 30), (71.3, 40.8)])
def test_a_crop_shows_the_square_with_its_margin(side, x, y):
    crop = cut_face(picture(ramp().astype(np.uint8)), np.array([x, y, x + side, y + side]), margin=0.1, crop_px=56)
    length = side * 1.2
    step = length / 56
    columns = x - 0.1 * side + step * (np.arange(56) + 0.5) - 0.5
    rows = y - 0.1 * side + step * (np.arange(56) + 0.5) - 0.5
    expected = 20 + 0.4 * columns[None] + 0.3 * rows[:, None]
    assert crop.shape == (56, 56, 3)
    assert crop.dtype == np.uint8
    assert np.abs(luma(crop) - expected)[2:-2, 2:-2].max() < 2.0
    assert np.mean(luma(crop) - expected) == pytest.approx(-0.5, abs=0.6)  # the ramp was rounded down


def test_an_oblong_box_becomes_a_square_around_its_centre():
    y = np.full((200, 200), 16, np.uint8)
    y[95:105, 95:105] = 235
    crop = cut_face(picture(y), np.array([80, 60, 120, 140]), margin=0.0, crop_px=80)
    bright = np.argwhere(crop[..., 0] > 128)
    assert bright.min(0).tolist() == [35, 35]
    assert bright.max(0).tolist() == [44, 44]


@pytest.mark.parametrize("box", [(-50, -40, 30, 40), (280, 200, 380, 300), (-500, -500, -400, -400), (0, 0, 320, 240)])
def test_outside_the_picture_its_border_is_repeated(box):
    values = ramp().astype(np.uint8)
    crop = luma(cut_face(picture(values), np.array(box, float), margin=0.25, crop_px=64))
    side = max(box[2] - box[0], box[3] - box[1]) * 1.5
    left, top = (box[0] + box[2] - side) / 2, (box[1] + box[3] - side) / 2
    columns = np.clip(left + side / 64 * (np.arange(64) + 0.5) - 0.5, 0, 319)
    rows = np.clip(top + side / 64 * (np.arange(64) + 0.5) - 0.5, 0, 239)
    expected = 20 + 0.4 * columns[None] + 0.3 * rows[:, None]
    assert np.abs(crop - expected).max() < 4.0


@pytest.mark.parametrize(
    ("yuv", "bgr"),
    [((16, 128, 128), (0, 0, 0)), ((235, 128, 128), (255, 255, 255)), ((81, 90, 240), (0, 0, 254)),
     ((145, 54, 34), (1, 255, 0)), ((41, 240, 110), (255, 0, 0)), ((126, 128, 128), (128, 128, 128))],
)  # fmt: skip
def test_colours_are_those_of_bt601(yuv, bgr):
    crop = cut_face(
        picture(np.full((64, 64), yuv[0], np.uint8), *yuv[1:]), np.array([10, 10, 50, 50]), margin=0, crop_px=16
    )
    assert np.abs(crop.reshape(-1, 3).astype(int) - bgr).max() <= 2


def test_a_crop_moves_with_a_slow_face():
    noise = np.random.default_rng(0).normal(size=(200, 200)).astype(np.float32)
    blurred = np.clip(128 + 1200 * cv2.GaussianBlur(noise, (0, 0), 6), 16, 235).astype(np.uint8)
    crops = [
        cut_face(picture(blurred), np.array([60 + dx, 60, 120 + dx, 120]), margin=0, crop_px=60)[..., 0].astype(float)
        for dx in (0, 0.25, 0.5, 0.75, 1.0)
    ]
    steps = [np.abs(after - before).mean() for before, after in pairwise(crops)]
    assert max(steps) < 2 * min(steps) + 0.2


def test_quality_is_size():
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert len(encode_jpeg(crop, 50)) < len(encode_jpeg(crop, 95))
    assert cv2.imdecode(np.frombuffer(encode_jpeg(crop, 95), np.uint8), cv2.IMREAD_COLOR).shape == (64, 64, 3)


@pytest.mark.parametrize("roll_rad", [-0.6, 0.3, 1.2])
@pytest.mark.parametrize("side", [40, 130])
def test_a_turned_crop_shows_a_sloping_line_level(roll_rad, side):
    """Luma that grows along the normal of the line: in the crop it grows downwards only."""
    rows, columns = np.mgrid[:240, :320].astype(np.float32)
    values = 128 + 0.7 * (np.cos(roll_rad) * (rows - 120) - np.sin(roll_rad) * (columns - 160))
    box = np.array([160 - side / 2, 120 - side / 2, 160 + side / 2, 120 + side / 2])
    crop = luma(cut_face(picture(np.rint(values).astype(np.uint8)), box, margin=0.1, crop_px=56, roll_rad=roll_rad))
    expected = 128 + 0.7 * side * 1.2 / 56 * (np.arange(56) - 27.5)
    assert np.abs(crop - expected[:, None]).max() < 2.5
