import cv2
import numpy as np
import pytest

from pipeline.media.container.probe import probe
from pipeline.media.faces.crop import encode_jpeg
from pipeline.media.options import ClockSpan, CropOptions
from pipeline.media.read_crops import crop_name, read_crops
from pipeline.records import Rejection
from tests.support.media_files import counter_picture, write_media

PX = 48
UNEVEN_MS = [0, 13, 53, 148, 169, 229, 242, 282, 377, 398, 458, 471]


@pytest.fixture
def probed(tmp_path):
    pictures = [counter_picture(i) for i in range(len(UNEVEN_MS))]
    return probe(write_media(tmp_path / "clip.mkv", pictures, UNEVEN_MS), max_duration_s=10)


def crop(number, px=PX):
    return encode_jpeg(np.full((px, px, 3), 20 * number, np.uint8), 95)


def read(files, probed, tmp_path, **span):
    options = {"frame_rate_hz": 25.0, "crop": CropOptions(crop_px=PX, jpeg_quality=95), "span": ClockSpan(**span)}
    return read_crops(lambda i: files.get(crop_name(i)), probed, directory=tmp_path, **options)


def numbers_of(video):
    """The number drawn in each frame's crop; None without one."""
    data = video.mjpeg_path.read_bytes()
    parts = [data[row["offset"] :][: row["size"]] for row in video.frames]
    pictures = [cv2.imdecode(np.frombuffer(part, np.uint8), cv2.IMREAD_COLOR) if part else None for part in parts]
    assert all(picture is None or picture.shape == (PX, PX, 3) for picture in pictures)
    return [None if picture is None else round(picture.mean() / 20) for picture in pictures]


def test_each_tick_shows_the_crop_of_the_last_frame_up_to_it(probed, tmp_path):
    video = read({crop_name(i): crop(i) for i in range(12)}, probed, tmp_path)
    expected = [max(i for i, at in enumerate(UNEVEN_MS) if at <= 40 * tick + 2) for tick in range(len(video.frames))]
    assert len(video.frames) == np.ceil(probed.duration_s * 25)
    assert video.frames["source_index"].tolist() == expected
    assert numbers_of(video) == expected
    assert video.frames["face_ok"].all()
    assert np.isnan(video.frames["box"]).all()
    assert (video.followed, video.problem, video.covered_s) == ("crops", "", probed.duration_s)
    assert cv2.imdecode(np.frombuffer(video.contact_sheet, np.uint8), cv2.IMREAD_COLOR) is not None


def test_a_missing_file_is_no_face(probed, tmp_path):
    video = read({crop_name(i): crop(i) for i in range(12) if i != 3}, probed, tmp_path)
    assert video.frames["face_ok"].tolist() == [index != 3 for index in video.frames["source_index"]]
    assert None in numbers_of(video)
    assert video.frames["video_ok"].all()


def test_a_span_is_a_cut_of_the_whole(probed, tmp_path):
    files = {crop_name(i): crop(i) for i in range(12)}
    whole = numbers_of(read(files, probed, tmp_path))
    part = read(files, probed, tmp_path, start_frame=3, stop_frame=9)
    assert numbers_of(part) == whole[3:9]
    assert part.frames["time_s"] == pytest.approx(np.arange(3, 9) / 25)
    assert part.covered_s == pytest.approx(9 / 25)
    assert not read({}, probed, tmp_path, start_frame=3, stop_frame=9).frames["face_ok"].any()


def test_crops_of_the_right_size_are_kept_and_others_scaled(probed, tmp_path):
    video = read({crop_name(0): crop(1), crop_name(4): crop(2, px=100)}, probed, tmp_path)
    assert video.mjpeg_path.read_bytes().startswith(crop(1))
    assert set(numbers_of(video)) == {1, 2, None}


def huge():
    data = bytearray(crop(1))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    return bytes(data)


@pytest.mark.parametrize(
    "data", [b"", b"no picture", crop(1)[:-40], huge(), crop(1) + bytes(5 << 20), b"\xff\xd8\xff\xd9"],
    ids=["empty", "text", "cut", "65535 px", "5 MB", "header only"],
)  # fmt: skip
def test_what_is_no_sensible_jpeg_is_no_face_and_reported(data, probed, tmp_path):
    video = read({crop_name(0): data, crop_name(4): crop(2)}, probed, tmp_path)
    assert not video.frames["face_ok"][video.frames["source_index"] == 0].any()
    assert video.problem == "1 crops are no readable JPEG of at most 2048 px a side: 00001.jpg"


def test_no_crop_at_all_is_a_rejection(probed, tmp_path):
    with pytest.raises(Rejection, match=r"faces: no_face: no crop for 1. frames") as caught:
        read({}, probed, tmp_path)
    assert caught.value.frames["video_ok"].all()


def test_names_count_from_one():
    assert [crop_name(i) for i in (0, 99998, 99999)] == ["00001.jpg", "99999.jpg", "100000.jpg"]
