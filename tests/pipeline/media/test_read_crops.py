import cv2
import numpy as np
import pytest

from pipeline.media.container.probe import probe
from pipeline.media.faces.crop import encode_jpeg
from pipeline.media.read_crops import crop_name, read_cropped
from pipeline.records import Rejection
from tests.support.media_files import counter_picture, write_media

PX = 48
UNEVEN_MS = [0, 13, 53, 148, 169, 229, 242, 282, 377, 398, 458, 471]


@pytest.fixture
def facts(tmp_path):
    pictures = [counter_picture(i) for i in range(len(UNEVEN_MS))]
    return probe(write_media(tmp_path / "clip.mkv", pictures, UNEVEN_MS), max_duration_s=10)


def crop(number, px=PX):
    return encode_jpeg(np.full((px, px, 3), 20 * number, np.uint8), 95)


def read(files, facts, tmp_path, **span):
    settings = {"frame_rate_hz": 25.0, "crop_px": PX, "jpeg_quality": 95} | span
    return read_cropped(lambda i: files.get(crop_name(i)), facts, directory=tmp_path, **settings)


def numbers_of(seen):
    """The number drawn in each frame's crop; None without one."""
    data = seen.mjpeg_path.read_bytes()
    parts = [data[row["offset"] :][: row["size"]] for row in seen.frames]
    pictures = [cv2.imdecode(np.frombuffer(part, np.uint8), cv2.IMREAD_COLOR) if part else None for part in parts]
    assert all(picture is None or picture.shape == (PX, PX, 3) for picture in pictures)
    return [None if picture is None else round(picture.mean() / 20) for picture in pictures]


def test_each_tick_shows_the_crop_of_the_last_frame_whose_time_has_come(facts, tmp_path):
    seen = read({crop_name(i): crop(i) for i in range(12)}, facts, tmp_path)
    expected = [max(i for i, at in enumerate(UNEVEN_MS) if at <= 40 * tick + 2) for tick in range(len(seen.frames))]
    assert len(seen.frames) == np.ceil(facts.duration_s * 25)
    assert seen.frames["source_index"].tolist() == expected
    assert numbers_of(seen) == expected
    assert seen.frames["face_ok"].all()
    assert np.isnan(seen.frames["box"]).all()
    assert (seen.followed, seen.problem, seen.covered_s) == ("crops", "", facts.duration_s)
    assert cv2.imdecode(np.frombuffer(seen.sheet, np.uint8), cv2.IMREAD_COLOR) is not None


def test_a_missing_file_is_no_face(facts, tmp_path):
    seen = read({crop_name(i): crop(i) for i in range(12) if i != 3}, facts, tmp_path)
    assert seen.frames["face_ok"].tolist() == [index != 3 for index in seen.frames["source_index"]]
    assert None in numbers_of(seen)
    assert seen.frames["video_ok"].all()


def test_a_span_is_a_cut_of_the_whole(facts, tmp_path):
    files = {crop_name(i): crop(i) for i in range(12)}
    whole = numbers_of(read(files, facts, tmp_path))
    part = read(files, facts, tmp_path, start_frame=3, stop_frame=9)
    assert numbers_of(part) == whole[3:9]
    assert part.frames["time_s"] == pytest.approx(np.arange(3, 9) / 25)
    assert part.covered_s == pytest.approx(9 / 25)
    assert not read({}, facts, tmp_path, start_frame=3, stop_frame=9).frames["face_ok"].any()


def test_crops_of_the_right_size_are_kept_and_others_scaled(facts, tmp_path):
    seen = read({crop_name(0): crop(1), crop_name(4): crop(2, px=100)}, facts, tmp_path)
    assert seen.mjpeg_path.read_bytes().startswith(crop(1))
    assert set(numbers_of(seen)) == {1, 2, None}


def huge():
    data = bytearray(crop(1))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    return bytes(data)


@pytest.mark.parametrize(
    "data", [b"", b"no picture", crop(1)[:-40], huge(), crop(1) + bytes(5 << 20), b"\xff\xd8\xff\xd9"],
    ids=["empty", "text", "cut", "65535 px", "5 MB", "header only"],
)  # fmt: skip
def test_what_is_no_sensible_jpeg_is_no_face_and_told(data, facts, tmp_path):
    seen = read({crop_name(0): data, crop_name(4): crop(2)}, facts, tmp_path)
    assert not seen.frames["face_ok"][seen.frames["source_index"] == 0].any()
    assert seen.problem == "1 crops are no readable JPEG of at most 2048 px a side: 00001.jpg"


def test_no_crop_at_all_is_a_rejection(facts, tmp_path):
    with pytest.raises(Rejection, match=r"faces: no_face: no crop for 1. frames"):
        read({}, facts, tmp_path)


def test_names_count_from_one():
    assert [crop_name(i) for i in (0, 99998, 99999)] == ["00001.jpg", "99999.jpg", "100000.jpg"]
