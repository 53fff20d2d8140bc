"""Evaluations on corrupted clips: a tiny trained model from the setting to metrics, predictions and report."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from iaca_model.corruption import KINDS
from pipeline import storage
from pipeline.config import UsageError
from pipeline.jobs import evaluate
from tests.support.fake_features import VIDEO_DIM, small_features
from tests.support.fake_run import evaluation_config, finished_run, small_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "talkers", test=6)


@pytest.fixture(scope="module")
def run_uri(tmp_path_factory, dataset):
    return finished_run(tmp_path_factory.mktemp("root"), dataset, model={"front": "reliability"})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluated")


def read(result, name):
    return storage.read_bytes(storage.join(result.output_uri, name))


def predictions(result):
    """Columns by name."""
    table = pq.read_table(io.BytesIO(read(result, "predictions.parquet")))
    return {name: table[name].to_numpy() for name in table.column_names}


def test_metrics_predictions_and_report_have_what_was_corrupted_and_how_well_it_is_detected(root, run_uri):
    result = evaluate.run(evaluation_config(run_uri, root, corrupt_modality=0.8))
    metrics, table = json.loads(read(result, "metrics.json")), predictions(result)
    assert (metrics["corrupt_modality"], metrics["corrupt_seed"]) == (0.8, 0)
    for modality in ("video", "audio"):
        column = table[f"{modality}_corruption"]
        assert set(column) <= {"", *KINDS}
        assert metrics["corruption"][modality]["all"] == pytest.approx((column != "").mean())
        assert 0 < metrics["corruption"][modality]["all"] < 0.9
    assert not ((table["video_corruption"] != "") & (table["audio_corruption"] != "")).any()
    assert table["valid"][(table["video_corruption"] != "") | (table["audio_corruption"] != "")].all()
    assert set(metrics["detection"]) == {"reliability", "modality"}
    weights = table["gate_reliability_video"]
    pairs = weights[table["audio_corruption"] != ""][:, None] - weights[table["video_corruption"] != ""]
    expected = (pairs > 0).mean() + (pairs == 0).mean() / 2
    assert metrics["detection"]["reliability"]["all"] == pytest.approx(expected)
    page = read(result, "report.html").decode()
    assert "no mask tells the model: with a chance of 0.8 for each segment" in page
    assert "with a chance of 0.8 per segment, seed 0" in page
    assert page.index("reliability, before attention") < page.index("modality gate, after attention")
    assert "corrupted on purpose" in page
    assert result.lines[0].startswith("test CCC of corrupted clips: ")
    assert result.lines[1].startswith("detection of the corrupted modality, AUROC: reliability ")


def test_another_seed_or_chance_is_another_evaluation_and_the_same_one_is_made_of_the_same_bytes(root, run_uri):
    names = ("metrics.json", "predictions.parquet", "report.html", "manifest.json")
    results = [
        evaluate.run(evaluation_config(run_uri, root, corrupt_modality=chance, corrupt_seed=seed))
        for chance, seed in ((0.8, 0), (0.8, 1), (0.5, 0), (0.0, 0))
    ]
    assert len({result.output_uri for result in results}) == 4
    assert len({read(result, "predictions.parquet") for result in results}) == 4
    before = [read(results[1], name) for name in names]
    storage.delete(storage.join(results[1].output_uri, "manifest.json"))
    again = evaluate.run(evaluation_config(run_uri, root, corrupt_modality=0.8, corrupt_seed=1))
    assert not again.skipped
    assert [read(again, name) for name in names] == before
    assert json.loads(before[3])["corrupt_modality"] == 0.8


def test_an_evaluation_of_healthy_clips_has_no_trace_of_it(root, run_uri):
    result = evaluate.run(evaluation_config(run_uri, root))
    for name in ("metrics.json", "manifest.json"):
        assert [key for key in json.loads(read(result, name)) if "corrupt" in key or key == "detection"] == []
    assert [name for name in predictions(result) if "corruption" in name] == []
    assert "corrupt" not in read(result, "report.html").decode().partition("</style>")[2]


def test_clips_of_features_are_corrupted_too(tmp_path):
    dataset = small_features(tmp_path / "features")
    run_uri = finished_run(tmp_path, dataset, model={"feature_dim": VIDEO_DIM, "front": "reliability", "gate": "none"})
    result = evaluate.run(evaluation_config(run_uri, tmp_path, corrupt_modality=1.0))
    plain = predictions(evaluate.run(evaluation_config(run_uri, tmp_path)))
    table, metrics = predictions(result), json.loads(read(result, "metrics.json"))
    assert set(metrics["detection"]) == {"reliability"}
    assert metrics["corruption"]["video"]["all"] > 0.1
    for stream in set(table["video_id"]):
        of_stream = table["video_id"] == stream
        changed = np.abs(table["valence_pred"] - plain["valence_pred"])[of_stream]
        assert changed.max() > 0


def test_the_report_of_a_model_without_a_verdict_has_none(tmp_path, dataset):
    run_uri = finished_run(tmp_path, dataset, model={"gate": "none"}, epochs=1)
    result = evaluate.run(evaluation_config(run_uri, tmp_path, corrupt_modality=0.5))
    assert json.loads(read(result, "metrics.json"))["detection"] == {}
    assert "so it has no verdict that could be measured" in read(result, "report.html").decode()
    assert len(result.lines) == 2


def test_what_cannot_be_corrupted_is_an_error_before_any_work(tmp_path, run_uri):
    one = small_dataset(tmp_path / "one", train=0, val=0, test=1)
    settings = {"dataset": one.uri, "corrupt_modality": 0.5}
    with pytest.raises(UsageError, match=r"the test split of .* has one group only \(test0\), but .*corrupt_modality"):
        evaluate.prepare(evaluation_config(run_uri, tmp_path, **settings))
    two = small_dataset(tmp_path / "two", train=0, val=1, test=2)
    settings["dataset"] = two.uri
    evaluate.prepare(evaluation_config(run_uri, tmp_path, **settings))
    with pytest.raises(UsageError, match=r"the val split of .* has one group only"):
        evaluate.prepare(evaluation_config(run_uri, tmp_path, **settings, smooth="tuned"))
