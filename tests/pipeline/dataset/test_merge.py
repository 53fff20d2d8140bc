from dataclasses import replace

import pytest

from pipeline.dataset.merge import merge_spans
from pipeline.records import VideoRow


def row(name="talk", **facts):
    known = VideoRow(name, "", f"/{name}.mp4", name, "train", "ok", "", "", "", duration_s=100.0, covered_s=100.0)
    return replace(known, container="mp4", num_segments=5, labelled_frames=900, valence_sum=9.0, **facts)


def lost(reason="undecodable", **facts):
    return replace(row(), status="rejected", stage="decode", reason=reason, detail="why", num_segments=0, **facts)


def test_a_short_video_keeps_its_row_and_streams_are_sorted():
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


def test_a_video_all_of_whose_spans_are_lost_is_rejected():
    (merged,) = merge_spans([lost("poison", covered_s=0.0), lost(covered_s=0.0)])
    assert (merged.status, merged.stage, merged.reason) == ("rejected", "decode", "poison")
    assert merged.detail == "none of 2 spans could be used; the first: why"
    assert (merged.num_segments, merged.covered_s) == (0, 0.0)
