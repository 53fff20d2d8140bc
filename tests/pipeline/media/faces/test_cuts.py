import numpy as np
import pytest

from pipeline.media.faces.cuts import CutFinder, is_same_scene
from pipeline.media.picture_stream import Picture

HEIGHT_PX, WIDTH_PX = 240, 426


def picture(y):
    half = y.shape[0] // 2, y.shape[1] // 2
    return Picture(np.clip(y, 16, 235).astype(np.uint8), np.full(half, 128, np.uint8), np.full(half, 128, np.uint8))


def room(seed, level=110.0):
    """A background of soft shapes, wider than the picture so that a camera can turn in it."""
    coarse = np.random.default_rng(seed).normal(0, 40, (10, 60))
    rows, columns = np.linspace(0, 9, HEIGHT_PX), np.linspace(0, 59, 6 * WIDTH_PX)
    across = np.stack([np.interp(columns, np.arange(60), row) for row in coarse])
    down = [np.interp(rows, np.arange(10), across[:, i]) for i in range(across.shape[1])]
    return level + np.stack(down, axis=1)


def shot(seed, *, num=20, pan=0.0, face=None, gain=1.0, noise=0.0):
    """Pictures of a room; the camera turns by `pan` px per picture, a bright face moves by `face` px per picture."""
    wide, rng = room(seed), np.random.default_rng(seed)
    for i in range(num):
        left = round(i * pan)
        y = gain * wide[:, left : left + WIDTH_PX].copy()
        if face is not None:
            x = round(100 + 90 * np.sin(i * face / 90))
            y[80:160, x : x + 80] = 190
        yield picture(y + rng.normal(0, noise, y.shape))


def cuts_of(*shots):
    finder = CutFinder()
    return [i for i, shown in enumerate(shown for shot in shots for shown in shot) if finder.is_cut(shown)]


def test_a_cut_is_found_at_its_first_picture():
    assert cuts_of(shot(1), shot(2), shot(3)) == [20, 40]


def test_a_cut_to_the_same_face_elsewhere_is_found():
    assert cuts_of(shot(1, face=0.0), shot(2, face=0.0)) == [20]


@pytest.mark.parametrize("shots", [
    [shot(1, num=60, face=40.0)],  # half a face side per picture
    [shot(1, num=60, pan=25.0)],  # the camera sweeps a picture's width in 17 pictures
    [shot(1), shot(1, gain=1.4)],  # the light goes on
    [shot(1, num=40, noise=25.0)],
    [[picture(np.full((HEIGHT_PX, WIDTH_PX), 60.0 + 0.2 * (i % 2))) for i in range(20)]],  # nothing to correlate
], ids=["fast face", "fast camera", "light", "noise", "even"])  # fmt: skip
def test_what_is_no_cut(shots):
    assert cuts_of(*shots) == []


def test_the_same_scene_is_known_again_later():
    (first, *_, last), (other, *_) = shot(1, face=8.0), shot(2)
    assert is_same_scene(first, last)
    assert not is_same_scene(first, other)
