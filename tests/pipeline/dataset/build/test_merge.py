from dataclasses import replace

import pytest

from pipeline.dataset.build.merge import merge_spans
from pipeline.records import Gap, VideoRow, VisibleFace


def row(name="talk", **changes):
    known = VideoRow(name, "", f"/{name}.mp4", name, "train", "ok", "", "", "", duration_s=100.0, covered_s=100.0)
    return replace(known, container="mp4", num_segments=5, labelled_frames=900, valence_sum=9.0, **changes)


def lost(reason="undecodable", **changes):
    return replace(row(), status="rejected", stage="decode", reason=reason, detail="why", num_segments=0, **changes)


def test_a_video_of_one_span_keeps_its_row_and_streams_are_sorted():
    rows = [row("b"), replace(row("a"), person="right"), replace(row("a"), person="left")]
    assert merge_spans(rows) == [rows[2], rows[1], rows[0]]


def test_durations_add_up_and_shares_are_of_the_time():
    spans = [
        row(face_fraction=1.0, audio_fraction=0.5, seconds_decode=2.0, attempts=2),
        replace(row(face_fraction=0.2, audio_fraction=0.5, seconds_decode=1.0), duration_s=300.0, covered_s=300.0),
    ]
    (merged,) = merge_spans(spans)
    assert (merged.status, merged.reason, merged.detail) == ("ok", "", "")
    assert (merged.duration_s, merged.covered_s, merged.num_segments, merged.num_spans) == (400.0, 400.0, 10, 2)
    assert merged.face_fraction == pytest.approx(0.4)
    assert merged.audio_fraction == pytest.approx(0.5)
    assert (merged.seconds_decode, merged.attempts) == (3.0, 2)


def test_labels_are_those_of_the_whole_file_counted_once():
    (merged,) = merge_spans([row(), row(), lost(covered_s=0.0)])
    assert (merged.labelled_frames, merged.valence_sum) == (900, 9.0)


def test_a_lost_span_makes_the_video_partial():
    unseen = replace(lost(covered_s=0.0), container="", labelled_frames=950)
    (merged,) = merge_spans([row(), unseen, row()])
    assert (merged.status, merged.stage, merged.reason) == ("ok", "decode", "partial")
    assert merged.detail == "1 of 3 spans were lost; undecodable: why"
    assert (merged.duration_s, merged.covered_s, merged.num_segments) == (300.0, 200.0, 10)
    assert (merged.container, merged.labelled_frames) == ("mp4", 900)


def test_a_span_that_ends_early_makes_the_video_partial():
    early = replace(row(), stage="decode", reason="partial", detail="it ends", covered_s=40.0)
    (merged,) = merge_spans([row(), early])
    assert (merged.status, merged.reason, merged.detail, merged.covered_s) == ("ok", "partial", "it ends", 140.0)


def test_a_video_that_lost_all_its_spans_is_rejected():
    (merged,) = merge_spans([lost("worker_crash", covered_s=0.0), lost(covered_s=0.0)])
    assert (merged.status, merged.stage, merged.reason) == ("rejected", "decode", "worker_crash")
    assert merged.detail == "none of 2 spans could be used; the first: why"
    assert (merged.num_segments, merged.covered_s) == (0, 0.0)


def visible(start_s, stop_s, x0=10.0, num_followed=0, reason="another person is visible for longer"):
    num_frames = round((stop_s - start_s) * 10)
    return VisibleFace(start_s, stop_s, num_frames, num_followed and num_frames, 0.9, x0, 0.0, x0 + 20, 20.0, reason)


def test_gaps_go_on_across_spans_and_lost_spans_are_gaps():
    absent = [Gap("face", 90.0, 100.0, 900, 999), Gap("sound", 99.0, 100.0, 990, 999)]
    back = [Gap("face", 100.0, 101.0, 1000, 1009)]
    (merged,) = merge_spans([row(gaps=tuple(absent)), row(gaps=tuple(back)), lost()])
    assert merged.gaps == (
        Gap("face", 90.0, 101.0, 900, 1009),
        Gap("sound", 99.0, 100.0, 990, 999),
        Gap("all", 200.0, 300.0, -1, -1),
    )


def test_what_was_not_decoded_is_a_gap():
    early = replace(row(), stage="decode", reason="partial", covered_s=40.0)
    (alone,) = merge_spans([early])
    assert alone.gaps == (Gap("picture", 40.0, 100.0, -1, -1),)
    (merged,) = merge_spans([row(), early, row()])
    assert merged.gaps == (Gap("picture", 140.0, 200.0, -1, -1),)
    assert merge_spans([row(), row()])[0].gaps == ()


def test_a_video_that_is_lost_as_a_whole_keeps_its_gaps():
    gap = Gap("face", 0.0, 100.0, 0, 999)
    (merged,) = merge_spans([lost("no_face", gaps=(gap,)), lost("no_face")])
    assert merged.gaps == (gap,)


def test_a_face_that_goes_on_in_the_next_span_is_listed_once():
    first = row(faces=(visible(0, 100, num_followed=1, reason="followed"), visible(50, 100, x0=200)), num_faces=25)
    second = row(
        faces=(visible(100, 180, x0=14, num_followed=1, reason="followed"), visible(150, 200, x0=200)), num_faces=2
    )
    (merged,) = merge_spans([first, second])
    followed, *others = merged.faces
    assert (followed.start_s, followed.stop_s, followed.num_frames, followed.num_followed) == (0, 180, 1800, 1800)
    assert followed.x0 == pytest.approx((10 * 1000 + 14 * 800) / 1800, abs=1e-3)
    assert [(face.start_s, face.stop_s) for face in others] == [(50, 100), (150, 200)]  # away for too long
    assert merged.num_faces == 26
