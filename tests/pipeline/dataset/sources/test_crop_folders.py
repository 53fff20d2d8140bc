from dataclasses import replace

import numpy as np
import pytest

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.dataset.build.span_build import SpanBuild, Tools
from pipeline.dataset.sources.crop_folders import crop_reader, with_crops
from pipeline.dataset.sources.listing import list_videos
from pipeline.media.faces.crop import encode_jpeg
from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.media.read_crops import MAX_BYTES
from pipeline.records import Rejection, Span, Video
from pipeline.synthetic.clip import ClipSpec, make_clip

JPEG = encode_jpeg(np.full((112, 112, 3), 90, np.uint8), 90)


def put(uri, data=JPEG):
    storage.publish_bytes(data, uri)


def video(path, person=""):
    return Video(path.replace("/", "__").partition(".")[0], path, f"/videos/{path}", 1, "1-0", person=person)


def test_folders_are_found_beside_and_below_with_the_person(storage_root):
    for name in ("a/talk/00001.jpg", "a/talk/00003.jpg", "pair_left/00001.jpg", "pair_right/00002.jpg", "x/y.txt"):
        put(storage.join(storage_root, name))
    streams = [video("a/talk.mp4"), video("set/pair.mp4", "left"), video("set/pair.mp4", "right"), video("gone.mp4")]
    talk, left, right, gone = with_crops(streams, storage_root)
    assert [stream.crops_uri.rpartition("/")[2] for stream in (talk, left, right)] == [
        "talk",
        "pair_left",
        "pair_right",
    ]
    assert talk.crops_content_id.startswith("2-")
    assert gone.crops_content_id == ""
    assert [crop_reader(talk)(i) for i in range(3)] == [JPEG, None, JPEG]
    assert crop_reader(right)(0) is None
    assert crop_reader(gone)(0) is None


def test_folders_within_a_folder_are_not_its_own(tmp_path):
    put(str(tmp_path / "a/00001.jpg"))
    put(str(tmp_path / "a/b/00002.jpg"))
    one, two = with_crops([video("a.mp4"), video("a/b.mp4")], str(tmp_path))
    assert [crop_reader(one)(1), crop_reader(two)(0)] == [None, None]


def test_a_folder_that_changed_since_the_plan_is_refused(tmp_path):
    put(str(tmp_path / "talk/00001.jpg"))
    (planned,) = with_crops([video("talk.mp4")], str(tmp_path))
    put(str(tmp_path / "talk/00002.jpg"))
    with pytest.raises(Rejection, match=r"source: changed: .*talk: planned with crops 1-"):
        crop_reader(planned)


def test_no_folder_at_all_is_a_mistake_of_the_user(tmp_path):
    with pytest.raises(UsageError, match=r"source\.crops .*/none does not exist"):
        with_crops([video("talk.mp4")], str(tmp_path / "none"))
    put(str(tmp_path / "other/00001.jpg"))
    with pytest.raises(UsageError, match=r"no folder of crops below .*; expected .*/talk"):
        with_crops([video("talk.mp4")], str(tmp_path))


class FakeBlindDetector:
    def detect(self, picture):
        raise AssertionError("nobody needs to look for faces")


def test_a_stream_is_built_from_its_crops_and_the_sound_of_its_video(tmp_path):
    spec = make_clip(ClipSpec(1, 0, 7, 2.0, 160, 120, 25.0, 16000), tmp_path, find_ffmpeg())
    for number in range(1, 41):
        put(str(tmp_path / f"crops/{spec.name}/{number:05d}.jpg"))
    source = {key: str(tmp_path / name) for key, name in (("videos", "videos"), ("crops", "crops"))}
    config = Config(source=source, storage={"root": str(tmp_path / "out")}, segments={"num_frames": 32})
    listing = list_videos(config)
    (stream,) = listing.videos
    assert listing.content_ids[f"crops {stream.key}"] == stream.crops_content_id
    (tmp_path / "work").mkdir()
    build = SpanBuild(Span(stream), config, Tools(find_ffmpeg(), FakeBlindDetector()), tmp_path / "work")
    first, second = build.segments()
    assert {segment.followed for segment in (first, second)} == {"crops"}
    assert first.frames["face_ok"].tolist() == [False] * 31 + [True] * 32
    assert second.frames["face_ok"].sum() == 31 + 8
    assert first.faces_mjpeg == JPEG * 32
    assert first.frames["audio_ok"][31:].all()
    assert build.row.face_fraction == pytest.approx(0.8)
    assert build.row.reason == ""
    assert build.contact_sheet


def test_crops_without_their_video_report_what_is_needed(tmp_path):
    put(str(tmp_path / "crops/talk/00001.jpg"))
    config = Config(source={"videos": str(tmp_path / "crops"), "crops": str(tmp_path / "crops")})
    with pytest.raises(UsageError, match="crops need the videos that they were cut from, for times and sound"):
        list_videos(config)
    (gone,) = with_crops([video("talk.mp4")], str(tmp_path / "crops"))
    build = SpanBuild(Span(gone), config, Tools(find_ffmpeg(), FakeBlindDetector()), tmp_path)
    with pytest.raises(Rejection, match=r"missing: .* neither timestamps nor sound; put it back and use --retry"):
        list(build.segments())


def test_a_dataset_depends_on_its_crops(tmp_path):
    put(str(tmp_path / "videos/talk.mp4"), b"data")
    put(str(tmp_path / "crops/talk/00001.jpg"))
    config = Config(source={"videos": str(tmp_path / "videos")}, storage={"root": str(tmp_path / "out")})
    cropped = config.model_copy(update={"source": replace(config.source, crops=str(tmp_path / "crops"))})
    before = list_videos(cropped).content_ids
    assert before != list_videos(config).content_ids
    put(str(tmp_path / "crops/talk/00002.jpg"))
    assert list_videos(cropped).content_ids != before


def test_no_more_of_a_crop_is_read_than_is_allowed(tmp_path):
    put(str(tmp_path / "a/00001.jpg"))
    with (tmp_path / "a/00001.jpg").open("ab") as file:
        file.truncate(100 << 20)  # sparse
    (stream,) = with_crops([video("a.mp4")], str(tmp_path))
    assert len(crop_reader(stream)(0)) == MAX_BYTES + 1
