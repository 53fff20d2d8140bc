"""Warnings that the wrong person may be followed, or another one after a cut."""

from dataclasses import replace

from pipeline.config import load
from pipeline.dataset.report.face_warnings import detector_advice, face_warnings, person_warnings
from pipeline.records import VideoRow, VisibleFace

HAAR = load(None, {"faces": {"detector": "haar"}})
YUNET = load(None, {"faces": {"detector": "yunet", "model_uri": "m", "model_sha256": "0"}})


def face(side_px, num_frames, *, followed=False, stop_s=10.0):
    number = num_frames if followed else 0
    return VisibleFace(0.0, stop_s, num_frames, number, 0.9, 0.0, 0.0, float(side_px), float(side_px), "")


def video(name="a", **changes):
    row = VideoRow(name, "", f"/{name}.mp4", "g", "train", "ok", "", "", "", 10.0, 10.0, 1.0, 1.0)
    return replace(row, **changes)


def test_a_person_who_is_hardly_ever_found_may_be_the_wrong_one():
    row = video(face_fraction=0.08, faces=(face(80, 20, followed=True),))
    assert person_warnings(row) == ("the face is found in 8.0% of the frames",)
    assert person_warnings(video(face_fraction=0.5)) == ()
    assert person_warnings(replace(row, status="rejected")) == ()


def test_a_face_that_stands_out_and_is_not_followed_is_reported():
    own = face(100, 60, followed=True)
    assert person_warnings(video(faces=(own, face(150, 30)))) == (
        "another face is larger: 150 px, the followed one 100 px",
    )
    assert person_warnings(video(faces=(own, face(90, 200)))) == (
        "another face is visible for longer: 200 clock frames, the followed one 60",
    )
    assert person_warnings(video(faces=(own, face(149, 60)))) == ()
    assert person_warnings(video(faces=(own, face(400, 9, stop_s=0.9)))) == (), "who passes by does not count"
    assert person_warnings(video(faces=(own, face(400, 5)))) == (), "nor does what is found now and then"


def test_a_dataset_has_a_line_for_each_kind_with_three_names():
    rows = [video(name, face_fraction=0.1) for name in "abcde"]
    rows += [
        video("f", faces=(face(100, 60, followed=True), face(300, 30))),
        video("g", num_cuts=9),
        video("h", num_cuts=3),
    ]
    assert face_warnings(rows) == (
        "the face is found in less than 50% of the frames of 5 videos (a, b, c and 2 more)",
        "a face that is not followed is larger or visible for longer in 1 video (f)",
        "12 scene cuts in 2 videos (g, h): after a cut the person may be another",
    )
    assert face_warnings([video()]) == ()


def test_yunet_is_recommended_where_haar_may_be_wrong():
    lost = video(status="rejected", reason="no_face")
    for row in (lost, video(face_fraction=0.1)):
        assert "iaca fetch-model yunet" in detector_advice([row], HAAR)[0]
        assert detector_advice([row], YUNET) == ()
    assert detector_advice([video(num_cuts=2)], HAAR) == ()
    assert detector_advice([lost], load(None, {"source": {"crops": "/crops"}})) == ()
