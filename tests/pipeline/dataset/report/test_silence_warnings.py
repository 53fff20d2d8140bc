"""Videos without sound, and those whose sound is silence, are named."""

from pipeline.dataset.report.silence_warnings import silence_warnings
from pipeline.records import VideoRow


def video(name, **values):
    return VideoRow(
        name, "", f"{name}.mp4", name, "train", **{"status": "ok", "stage": "", "reason": "", "detail": "", **values}
    )


def test_each_kind_is_a_line_of_its_own_and_pauses_are_no_silence():
    rows = [
        video("mute"),
        video("dead", audio_codec="aac", silent_fraction=1.0),
        video("still", audio_codec="aac", silent_fraction=0.995),
        video("talk", audio_codec="aac", silent_fraction=0.6),
        video("lost", status="rejected"),
    ]
    assert silence_warnings(rows) == ("no sound in 1 video (mute)", "only silence in 2 videos (dead, still)")
    assert silence_warnings(rows[3:]) == ()
