import cv2
import numpy as np
import pytest

from pipeline.media.faces.contact_sheet import (
    BLUE,
    CAPTION_PX,
    COLUMNS,
    GREEN,
    MAX_PICTURES,
    RED,
    Thumbnails,
    clock_text,
    contact_sheet,
)
from pipeline.media.faces.crop_store import CROP_DTYPE
from pipeline.media.picture_stream import Picture
from pipeline.records import FRAME_DTYPE

WIDTH_PX, HEIGHT_PX = 384, 216  # halved in the sheet
TILE_PX = HEIGHT_PX // 2 + CAPTION_PX, WIDTH_PX // 2


def picture(grey):
    half = HEIGHT_PX // 2, WIDTH_PX // 2
    return Picture(np.full((HEIGHT_PX, WIDTH_PX), grey, np.uint8), *np.full((2, *half), 128, np.uint8))


def frames_of(num_frames):
    frames = np.zeros(num_frames, FRAME_DTYPE)
    frames["time_s"] = np.arange(num_frames) / 25
    frames["video_ok"], frames["face_ok"], frames["box"] = True, True, (100, 40, 200, 160)
    return frames


def sheet_of(frames, expected=None):
    thumbnails = Thumbnails(expected or len(frames))
    for i in range(len(frames)):
        thumbnails.add(i, picture(16 + i % 200))
    return contact_sheet(thumbnails, frames, (WIDTH_PX, HEIGHT_PX))


def tiles_of(sheet):
    """The tiles of a decoded sheet, in reading order."""
    image = cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_COLOR)
    rows = [image[top : top + TILE_PX[0]] for top in range(0, image.shape[0], TILE_PX[0])]
    return [row[:, left : left + TILE_PX[1]] for row in rows for left in range(0, image.shape[1], TILE_PX[1])]


def has(tile, colour):
    return (np.abs(tile.astype(int) - colour).max(axis=2) < 90).sum() > 20


@pytest.mark.parametrize(("num_frames", "shape"), [(1, (1, 1)), (4, (1, 4)), (20, (4, COLUMNS)), (5000, (4, COLUMNS))])
def test_a_sheet_has_at_most_24_tiles(num_frames, shape):
    image = cv2.imdecode(np.frombuffer(sheet_of(frames_of(num_frames)), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (shape[0] * TILE_PX[0], shape[1] * TILE_PX[1], 3)
    assert shape[0] * shape[1] <= MAX_PICTURES


def test_tiles_are_spread_evenly_and_in_order():
    thumbnails = Thumbnails(2400)
    for i in range(2400):
        thumbnails.add(i, picture(100))
    assert list(thumbnails.pictures) == list(range(50, 2400, 100))


def test_a_video_that_ends_early_has_fewer_tiles():
    sheet = sheet_of(frames_of(50), expected=100)
    assert sum(has(tile, GREEN) for tile in tiles_of(sheet)) == 12


def test_the_box_is_where_the_face_is_and_its_absence_is_written():
    frames = frames_of(24)
    frames["face_ok"][3], frames["box"][3] = False, np.nan
    tiles = tiles_of(sheet_of(frames))
    assert [has(tile, GREEN) for tile in tiles] == [i != 3 for i in range(24)]
    assert [has(tile, RED) for tile in tiles] == [i == 3 for i in range(24)]
    rows, columns = np.nonzero(np.abs(tiles[0].astype(int) - GREEN).max(axis=2) < 120)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((20, 80, 50, 100), abs=2)


def test_other_people_are_marked_and_frames_without_a_person_are_not():
    frames = frames_of(4)
    frames["face_ok"][2:], frames["box"][2:] = False, np.nan
    visible = np.zeros(3, CROP_DTYPE)  # the followed face at frame 0; another one at frames 1 and 2
    visible["frame"], visible["box"] = [0, 1, 2], [frames["box"][0], (250, 40, 350, 160), (250, 40, 350, 160)]
    thumbnails = Thumbnails(4)
    for i in range(4):
        thumbnails.add(i, picture(30))
    tiles = tiles_of(contact_sheet(thumbnails, frames, (WIDTH_PX, HEIGHT_PX), visible))
    assert [has(tile, BLUE) for tile in tiles] == [False, True, True, False]
    assert [has(tile, GREEN) for tile in tiles] == [True, True, False, False]
    captions = [tile[-CAPTION_PX:] for tile in tiles[2:]]
    assert all(has(caption, RED) for caption in captions)
    assert np.abs(captions[0].astype(int) - captions[1]).max() > 100  # "other person", "no face"


@pytest.mark.parametrize("width_px", [108, 4])
def test_a_caption_fits_an_upright_picture(width_px):
    frames = frames_of(1)
    frames["video_ok"], frames["face_ok"], frames["box"] = True, False, np.nan
    thumbnails = Thumbnails(1)
    thumbnails.add_bgr(0, np.zeros((192, width_px, 3), np.uint8))
    visible = np.zeros(1, CROP_DTYPE)
    sheet = contact_sheet(thumbnails, frames, (width_px, 192), visible)
    caption = cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_COLOR)[-CAPTION_PX:].astype(int)
    assert caption.shape[1] == width_px
    if width_px > 4:
        blue, red = caption[..., 0] > 150, (caption[..., 2] > 150) & (caption[..., 0] < 110)
        assert np.nonzero(blue)[1].max() < np.nonzero(red)[1].min()  # white time, then red text


def test_the_same_pictures_make_the_same_bytes():
    assert sheet_of(frames_of(100)) == sheet_of(frames_of(100))


def test_nothing_shown_is_no_sheet():
    assert contact_sheet(Thumbnails(0), frames_of(0), (WIDTH_PX, HEIGHT_PX)) == b""


@pytest.mark.parametrize(("time_s", "text"), [(0, "0:00.0"), (12.3, "0:12.3"), (3723.44, "1:02:03.4")])
def test_times_are_for_people(time_s, text):
    assert clock_text(time_s) == text
