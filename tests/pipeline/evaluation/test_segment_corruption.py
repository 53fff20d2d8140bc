"""Corrupted spans of an evaluation: where they lie, what takes their place, and what decides about them."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from iaca_model.config import FeatureSpec
from iaca_model.corruption import HEALTHY, KINDS, MISSING, NOISY, SWAPPED
from iaca_model.model import Prediction
from pipeline.evaluation.alignment import align_streams
from pipeline.evaluation.corruption_scores import measure_corruption
from pipeline.evaluation.inference import predict_segment, predict_streams
from pipeline.evaluation.segment_corruption import (
    SegmentCorruption,
    SplitCorruption,
    draw_kinds,
    kind_indices,
    kind_names,
)
from tests.pipeline.evaluation.test_predictions import SPEC, VIEW, FakeModel
from tests.support.fake_dataset import make_segment, write_shard
from tests.support.fake_features import AUDIO_DIM, VIDEO_DIM, feature_segment

NUM_FRAMES, SHORTEST = 32, 24  # SHORTEST: 3 steps of VIEW, 3/4 of a segment
VIDEO, AUDIO = 0, 1


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def everything(kind, modality, num_frames=NUM_FRAMES):
    kind_N2 = np.full((num_frames, 2), HEALTHY, np.uint8)
    kind_N2[:, modality] = kind
    return kind_N2


def corrupted(segment, kind_N2, donor=None, model=None):
    spans = SegmentCorruption(segment.key, kind_N2, donor, seed=0)
    return predict_segment(model or FakeModel(), segment, VIEW, SPEC, corruption=spans)


def healthy(segment):
    return predict_segment(FakeModel(), segment, VIEW, SPEC)


def drawn_kinds(num_frames, chance, seed):
    return draw_kinds(num_frames, chance, VIEW, rng(seed))


def test_a_segment_has_one_span_of_one_kind_in_either_modality_alike():
    drawn = [drawn_kinds(200, 1.0, seed) != HEALTHY for seed in range(400)]
    assert all(corrupted_N2.any(0).sum() == 1 for corrupted_N2 in drawn), "one modality"
    of_video = np.mean([corrupted_N2[:, VIDEO].any() for corrupted_N2 in drawn])
    assert of_video == pytest.approx(0.5, abs=0.1)
    lengths = [corrupted_N2.sum() for corrupted_N2 in drawn]
    assert (min(lengths), max(lengths)) == (pytest.approx(SHORTEST, abs=3), pytest.approx(150, abs=3))
    assert all(np.abs(np.diff(corrupted_N2.any(1).astype(int))).sum() <= 2 for corrupted_N2 in drawn), "one span"
    kinds = [kinds for seed in range(400) for kinds in np.unique(drawn_kinds(200, 1.0, seed)).tolist()]
    assert all(kinds.count(kind) > 100 for kind in (MISSING, NOISY, SWAPPED))
    assert all((drawn_kinds(length, 1.0, 0) != HEALTHY).any() for length in (1, 2, 5, 23))


def test_a_smaller_chance_leaves_out_spans_and_changes_none():
    pairs = [[drawn_kinds(64, chance, seed) for chance in (0.4, 1.0)] for seed in range(300)]
    kept = [few.tolist() == all_.tolist() for few, all_ in pairs]
    assert np.mean(kept) == pytest.approx(0.4, abs=0.1)
    assert all((few == HEALTHY).all() for (few, _), same in zip(pairs, kept, strict=True) if not same)
    assert not any((drawn_kinds(64, 0.0, seed) != HEALTHY).any() for seed in range(50))


def test_names_and_indices_of_kinds_belong_together():
    kinds = np.array([HEALTHY, *range(len(KINDS))], np.uint8)
    assert kind_names(kinds).tolist() == ["", "missing", "noisy", "swapped"]
    assert kind_indices(kind_names(kinds)).tolist() == kinds.tolist()


@pytest.mark.parametrize("modality", [VIDEO, AUDIO])
def test_a_frame_is_corrupted_in_every_phase_alike_and_only_in_its_span(modality):
    segment, kind_N2 = make_segment(), everything(HEALTHY, VIDEO)
    kind_N2[5:20, modality] = MISSING
    clock, before = corrupted(segment, kind_N2), healthy(segment)
    assert (clock.corruption == kind_N2).all()
    assert (clock.values[5:20, modality] == -1).all(), "black, or silent"
    other = np.ones((NUM_FRAMES, 2), bool)
    other[5:20, modality] = False
    assert (clock.values[other] == before.values[other]).all()
    assert clock.valid.all()
    assert clock.face_ok.all()
    assert clock.audio_ok.all()
    assert all((clock.gates[name] == before.gates[name]).all() for name in before.gates), "no mask tells it"


def test_a_swapped_frame_is_the_same_frame_of_the_donor_or_healthy_where_it_has_none():
    segment, donor = make_segment("one", seed=1), make_segment("other", seed=2, num_frames=20, no_sound=range(7, 17))
    for modality, name in enumerate(("video", "audio")):
        there = np.zeros(NUM_FRAMES, bool)
        there[:20] = healthy(donor).gates[f"modality_{name}"] == 1
        assert there.sum() == (20 if modality == VIDEO else pytest.approx(10, abs=3))
        clock = corrupted(segment, everything(SWAPPED, modality), donor)
        assert (clock.corruption[:, modality] == np.where(there, SWAPPED, HEALTHY)).all()
        assert (clock.corruption[:, 1 - modality] == HEALTHY).all()
        assert (clock.values[there, modality] == healthy(donor).values[there[:20], modality]).all()
        assert (clock.values[~there] == healthy(segment).values[~there]).all()
        assert (clock.values[:, 1 - modality] == healthy(segment).values[:, 1 - modality]).all()


def test_only_a_frame_that_has_both_modalities_is_corrupted():
    segment = make_segment(no_face=range(7, 15), no_sound=range(30, 39))
    before = healthy(segment)
    both = (before.gates["modality_video"] == 1) & (before.gates["modality_audio"] == 1)
    assert 5 < both.sum() < 30
    for modality in (VIDEO, AUDIO):
        clock = corrupted(segment, everything(NOISY, modality))
        assert ((clock.corruption[:, modality] == NOISY) == both).all()
        assert (clock.values[~both] == before.values[~both]).all()


def test_the_noise_is_the_same_each_time_and_another_with_another_seed_or_segment():
    segment = make_segment()
    noisy = corrupted(segment, everything(NOISY, AUDIO)).values
    assert (corrupted(segment, everything(NOISY, AUDIO)).values == noisy).all()
    for changes in ({"seed": 1}, {"key": "another"}):
        spans = dataclasses.replace(SegmentCorruption(segment.key, everything(NOISY, AUDIO), None, 0), **changes)
        assert (predict_segment(FakeModel(), segment, VIEW, SPEC, corruption=spans).values != noisy).any()


@pytest.fixture
def split(tmp_path):
    """A folder and the rows of ten clips of two segments each."""
    segments = [make_segment(f"clip{i}", start_s=start_s, seed=i) for i in range(10) for start_s in (0.0, 1.28)]
    return str(tmp_path), write_shard(tmp_path, "test-00000", segments)


def drawn_of(uri, rows, seed=0):
    corruption = SplitCorruption(0.7, seed, uri, rows)
    return {row.key: corruption.of_segment(row, VIEW) for row in rows}


def test_what_is_drawn_for_a_segment_depends_on_its_key_and_the_seed_and_not_on_the_order(split):
    uri, rows = split
    there, back = drawn_of(uri, rows), drawn_of(uri, rows[::-1])
    donors = {key: spans.donor.key for key, spans in there.items() if spans.donor}
    assert donors == {key: spans.donor.key for key, spans in back.items() if spans.donor}
    assert all((spans.kind_N2 == back[key].kind_N2).all() for key, spans in there.items())
    other = drawn_of(uri, rows, seed=1)
    assert any((spans.kind_N2 != other[key].kind_N2).any() for key, spans in there.items())
    assert len({spans.kind_N2.tobytes() for spans in there.values()}) > 10, "each segment has its own"


def test_a_donor_is_of_another_group_and_read_only_where_something_is_swapped(split):
    uri, rows = split
    group_of = {row.key: row.group for row in rows}
    chosen = set()
    for seed in range(6):
        for key, spans in drawn_of(uri, rows, seed).items():
            assert (spans.donor is not None) == (spans.kind_N2 == SWAPPED).any()
            if spans.donor:
                assert spans.donor.group != group_of[key]
                chosen.add(spans.donor.key)
    assert len(chosen) > 10


def test_streams_are_the_same_in_any_order_and_without_corruption_no_column_is_about_it(split):
    uri, rows = split
    tables = [
        align_streams(predict_streams(FakeModel(), uri, given, VIEW, SPEC, "none", SplitCorruption(0.7, 0, uri, given)))
        for given in (rows, rows[::-1])
    ]
    assert all((tables[0][name] == tables[1][name]).all() for name in tables[0])
    assert {*tables[0]["video_corruption"], *tables[0]["audio_corruption"]} == {"", *KINDS}
    plain = align_streams(predict_streams(FakeModel(), uri, rows, VIEW, SPEC, "none"))
    assert [name for name in plain if "corruption" in name] == []
    assert measure_corruption(plain) == {}


class FakeJudge(FakeModel):
    """Sees black crops and digital silence, and nothing else; its modality gate never moves."""

    def forward(self, batch):
        prediction = super().forward(batch)
        black = batch.frames_BLTHWC.float().mean((2, 3, 4, 5)) == 0
        silent = batch.mel_BLSM.mean((2, 3)) == -100
        video = torch.where(black, 0.1, torch.where(silent, 0.8, 0.5))
        half = torch.full_like(video, 0.5)
        gates = {"reliability": torch.stack([video, 1 - video], -1), "modality": torch.stack([half, half], -1)}
        return prediction._replace(gates=gates)


def test_the_detection_of_a_model_with_known_weights_and_the_shares_of_what_was_corrupted(split):
    uri, rows = split
    streams = list(predict_streams(FakeJudge(), uri, rows, VIEW, SPEC, "none", SplitCorruption(0.8, 0, uri, rows)))
    columns = align_streams(streams)
    measured = measure_corruption(columns)
    reliability = measured["detection"]["reliability"]
    assert (reliability["missing"], reliability["noisy"], reliability["swapped"]) == (1.0, 0.5, 0.5)
    assert 0.5 < reliability["all"] < 1.0
    video, audio = columns["video_corruption"], columns["audio_corruption"]
    num_corrupted = ((video != "") != (audio != "")).sum()
    expected = (0.8 * (video == "missing").sum() + 0.6 * (audio == "missing").sum()) / num_corrupted
    assert reliability["gap"] == pytest.approx(expected, abs=1e-5)
    still = measured["detection"]["modality"]
    assert (still["missing"], still["all"], still["gap"]) == (0.5, 0.5, 0.0)
    shares = measured["corruption"]["video"]
    assert shares["noisy"] == pytest.approx((video == "noisy").mean())
    assert shares["all"] == pytest.approx(sum(shares[kind] for kind in KINDS)) == pytest.approx((video != "").mean())
    assert measured["corruption"]["audio"]["all"] == pytest.approx((audio != "").mean())


def test_where_one_modality_alone_is_corrupted_nothing_can_be_ranked():
    columns = {
        "video_corruption": np.array(["missing", "", "missing"], object),
        "audio_corruption": np.array(["", "", ""], object),
        "gate_reliability_video": np.array([0.1, 0.5, 0.3], np.float32),
        "gate_reliability_audio": np.array([0.9, 0.5, 0.7], np.float32),
    }
    measured = measure_corruption(columns)["detection"]["reliability"]
    assert (measured["missing"], measured["noisy"], measured["all"]) == (None, None, None)
    assert measured["gap"] == pytest.approx(0.6)


class FakeFeatureModel(nn.Module):
    """Predicts the mean of the features of each modality."""

    def forward(self, batch):
        values = torch.stack([batch.video_BLD.mean(-1), batch.audio_BLD.mean(-1)], -1)
        return Prediction(values, batch.video_ok_BL | batch.audio_ok_BL, {}, {})


def test_features_are_corrupted_like_crops_and_sound():
    segment, donor = feature_segment("one", "test", 1), feature_segment("other", "test", 2)
    spec = FeatureSpec(VIEW.num_subclips, VIDEO_DIM, AUDIO_DIM)

    def predicted(of, kind_N2=None, donor=None):
        spans = None if kind_N2 is None else SegmentCorruption(of.key, kind_N2, donor, 0)
        return predict_segment(FakeFeatureModel(), of, VIEW, spec, corruption=spans).values

    assert (predicted(segment, everything(MISSING, AUDIO))[:, AUDIO] == 0).all()
    swapped = predicted(segment, everything(SWAPPED, VIDEO), donor)
    assert (swapped[:, VIDEO] == predicted(donor)[:, VIDEO]).all()
    assert (swapped[:, AUDIO] == predicted(segment)[:, AUDIO]).all()
