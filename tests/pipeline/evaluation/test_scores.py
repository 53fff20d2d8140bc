import dataclasses

import numpy as np
import pytest

from pipeline.evaluation import scores
from pipeline.records import VideoRow
from tests.support.fake_dataset import labels_summed


def table(lengths, seed=0):
    """Columns of one stream per length, with noisy predictions."""
    rng = np.random.default_rng(seed)
    count = sum(lengths)
    ids = np.repeat([f"v{i}" for i in range(len(lengths))], lengths).astype(object)
    true = rng.uniform(-1, 1, (count, 2)).astype(np.float32)
    predicted = (0.7 * true + rng.normal(0.1, 0.3, (count, 2))).astype(np.float32)
    ok = rng.random((3, count)) > 0.2
    return {
        "video_id": ids, "person": np.full(count, "", object), "time_s": np.arange(count) / 25,
        "valence": true[:, 0], "arousal": true[:, 1], "valence_pred": predicted[:, 0], "arousal_pred": predicted[:, 1],
        "valid": ok[0], "face_ok": ok[1], "audio_ok": ok[2],
    }  # fmt: skip


def rows(lengths):
    return [VideoRow(f"v{i}", "", "", "", "test", "ok", "", "", "", labelled_frames=n) for i, n in enumerate(lengths)]


def concordance(x, y):
    x, y = x.astype(float), y.astype(float)
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def test_pooled_and_per_video_equal_numpy():
    columns = table([40, 25, 60])
    metrics = scores.measure(columns, rows([40, 25, 60]))
    for name in ("valence", "arousal"):
        x, y = columns[f"{name}_pred"], columns[name]
        each = [concordance(x[columns["video_id"] == v], y[columns["video_id"] == v]) for v in ("v0", "v1", "v2")]
        assert metrics["ccc"]["pooled"][name] == pytest.approx(concordance(x, y), abs=1e-9)
        assert metrics["ccc"]["per_video"][name] == pytest.approx(np.mean(each), abs=1e-9)
    pooled = metrics["ccc"]["pooled"]
    assert pooled["mean"] == pytest.approx((pooled["valence"] + pooled["arousal"]) / 2)
    assert metrics["ccc"]["pooled_rejected_as_zero"] == pooled
    assert metrics["frames"]["face_ok"] == columns["face_ok"].sum()
    assert metrics["frames"]["filled"] == (~columns["valid"]).sum()


def test_the_interval_is_the_bootstrap_over_whole_videos():
    columns = table([40, 25, 60, 30])
    interval = scores.measure(columns, rows([40, 25, 60, 30]))["ccc"]["pooled_interval"]
    rng, draws = np.random.default_rng(1), []
    for _ in range(1000):
        chosen = np.concatenate([np.flatnonzero(columns["video_id"] == f"v{i}") for i in rng.integers(0, 4, 4)])
        draws.append(concordance(columns["valence_pred"][chosen], columns["valence"][chosen]))
    assert interval["valence"] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.02)
    assert interval["mean"][0] < scores.measure(columns, rows([40, 25, 60, 30]))["ccc"]["pooled"]["mean"]
    assert scores.measure(columns, rows([40, 25, 60, 30]))["ccc"]["pooled_interval"] == interval


def test_one_video_has_no_interval():
    assert scores.measure(table([40]), rows([40]))["ccc"]["pooled_interval"] is None


def test_a_constant_prediction_scores_zero_and_is_flagged():
    columns = table([30])
    columns["valence_pred"] = np.full(30, 0.3, np.float32)
    metrics = scores.measure(columns, rows([30]))
    assert metrics["ccc"]["pooled"]["valence"] == 0
    assert metrics["constant"] == ["valence"]


def test_videos_with_fewer_than_two_scored_frames_are_undefined_and_counted():
    metrics = scores.measure(table([30, 1, 0]), rows([30, 1, 0]))
    assert metrics["ccc"]["per_video"]["undefined"] == 2
    assert metrics["ccc"]["per_video"]["valence"] == metrics["by_video"][0]["valence"]
    assert [video["mean"] is None for video in metrics["by_video"]] == [False, True, True]
    assert metrics["videos"] == {"total": 3, "ok": 3, "rejected": 0, "scored": 2}


def test_lost_frames_can_be_counted_as_zero():
    whole, scored = table([50, 20]), slice(0, 50)
    columns = {name: values[scored] for name, values in whole.items()}
    labels = [{name: whole[name][part] for name in ("valence", "arousal")} for part in (scored, slice(50, 70))]
    videos = [labels_summed_of(row, part) for row, part in zip(rows([50, 20]), labels, strict=True)]
    videos[1] = dataclasses.replace(videos[1], status="rejected", stage="faces", reason="no_face")
    metrics = scores.measure(columns, videos)
    with_zeros = np.concatenate([columns["valence_pred"], np.zeros(20)])
    expected = concordance(with_zeros, whole["valence"])
    assert metrics["ccc"]["pooled_rejected_as_zero"]["valence"] == pytest.approx(expected, abs=1e-9)
    assert metrics["frames"] | {"labelled": 70, "scored": 50, "lost": 20} == metrics["frames"]
    assert metrics["videos"]["rejected"] == 1


def labels_summed_of(row, labels):
    table = np.zeros(len(labels["valence"]), [("valence", "f8"), ("arousal", "f8")])
    for name in labels:
        table[name] = labels[name]
    return labels_summed(row, table)


def test_lost_frames_with_unknown_labels_make_it_null():
    metrics = scores.measure(table([50]), [*rows([50]), dataclasses.replace(rows([50, 20])[1], status="rejected")])
    assert metrics["ccc"]["pooled_rejected_as_zero"] is None
    assert metrics["frames"]["lost"] == 20
