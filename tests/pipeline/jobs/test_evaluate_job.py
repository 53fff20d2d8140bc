import dataclasses
import io
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.config import UsageError
from pipeline.jobs import evaluate
from pipeline.records import VideoRow
from tests.support.fake_dataset import write_dataset
from tests.support.fake_run import evaluation_config, finished_run, small_config, small_dataset, small_segments


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "talkers")


@pytest.fixture(scope="module")
def run_uri(tmp_path_factory, dataset):
    return finished_run(tmp_path_factory.mktemp("root"), dataset)


def read(uri, name):
    return storage.read_bytes(storage.join(uri, name))


@pytest.fixture(scope="module")
def result(tmp_path_factory, run_uri):
    return evaluate.run(evaluation_config(run_uri, tmp_path_factory.mktemp("evaluated")))


def test_there_is_a_row_for_every_annotation_and_the_metrics_are_theirs(result):
    table = pq.read_table(io.BytesIO(read(result.output_uri, "predictions.parquet")))
    metrics = json.loads(read(result.output_uri, "metrics.json"))
    assert table.num_rows == 128 == metrics["frames"]["labelled"] == metrics["frames"]["scored"]
    assert set(table["split"].to_pylist()) == {"test"}
    for name in ("valence", "arousal"):
        x, y = (table[column].to_numpy().astype(float) for column in (f"{name}_pred", name))
        assert np.abs(x).max() <= 1
        ccc = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
        assert metrics["ccc"]["pooled"][name] == pytest.approx(ccc, abs=1e-6)
    weights = table["gate_modality_video"].to_numpy() + table["gate_modality_audio"].to_numpy()
    assert np.allclose(weights[table["valid"].to_numpy()], 1, atol=1e-5)


def test_it_lies_under_the_run_and_the_manifest_names_every_file(result, run_uri):
    assert result.output_uri.split("/")[-3:-1] == ["evaluations", run_uri.rsplit("/", 1)[1]]
    assert result.output_uri.rsplit("/", 1)[1].startswith("talkers-")
    manifest = json.loads(read(result.output_uri, "manifest.json"))
    there = {entry.uri.rsplit("/", 1)[1] for entry in storage.list_files(result.output_uri)}
    assert there == {*manifest["sha256"], "manifest.json"}


def test_the_page_shows_the_training_of_the_run(result, run_uri):
    text = read(result.output_uri, "report.html").decode()
    best_step = json.loads(read(run_uri, "run.json"))["best_step"]
    assert f"those of step {best_step}, after epoch" in text
    assert "after each of the 2 epochs" in text


def test_a_second_time_nothing_is_computed_and_torch_is_not_even_loaded(result, run_uri):
    root = result.output_uri.split("/evaluations/")[0]
    before = [entry.version for entry in storage.list_files(result.output_uri)]
    code = (
        "import sys; from pipeline.config import Config; from pipeline.jobs import evaluate\n"
        "result = evaluate.run(Config.model_validate_json(sys.stdin.read()))\n"
        "assert result.skipped and 'torch' not in sys.modules and 'ray' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code], input=evaluation_config(run_uri, root).to_json(), text=True, check=True
    )
    assert [entry.version for entry in storage.list_files(result.output_uri)] == before


def test_an_evaluation_without_its_manifest_is_made_again_with_the_same_bytes(result, run_uri):
    names = ("metrics.json", "predictions.parquet", "report.html", "manifest.json")
    before = [read(result.output_uri, name) for name in names]
    for name in ("manifest.json", "report.html"):
        storage.delete(storage.join(result.output_uri, name))
    again = evaluate.run(evaluation_config(run_uri, result.output_uri.split("/evaluations/")[0]))
    assert not again.skipped
    assert [read(result.output_uri, name) for name in names] == before


def test_the_verdict_of_a_front_is_in_the_predictions_and_on_the_page_which_names_the_model(tmp_path, dataset, result):
    run_uri = finished_run(tmp_path, dataset, model={"front": "reliability"})
    found = evaluate.run(evaluation_config(run_uri, tmp_path))
    table = pq.read_table(io.BytesIO(read(found.output_uri, "predictions.parquet")))
    weights = [table[f"gate_reliability_{modality}"].to_numpy() for modality in ("video", "audio")]
    assert np.allclose(sum(weights), 1, atol=1e-6)
    page = read(found.output_uri, "report.html").decode()
    assert "jca with front reliability and gate iaca, " in page
    assert "reliability of each modality, judged before attention" in page
    assert "jca with gate iaca, " in read(result.output_uri, "report.html").decode()
    masked = evaluate.run(evaluation_config(run_uri, tmp_path, masked_modality="video"))
    table = pq.read_table(io.BytesIO(read(masked.output_uri, "predictions.parquet")))
    assert not table["gate_reliability_video"].to_numpy()[table["valid"].to_numpy()].any()


@pytest.mark.parametrize("masked_modality", ["video", "audio"])
def test_a_masked_modality_makes_another_evaluation(result, run_uri, masked_modality):
    root = result.output_uri.split("/evaluations/")[0]
    other = evaluate.run(evaluation_config(run_uri, root, masked_modality=masked_modality))
    assert other.output_uri != result.output_uri
    metrics = json.loads(read(other.output_uri, "metrics.json"))
    assert metrics["masked_modality"] == masked_modality
    table = pq.read_table(io.BytesIO(read(other.output_uri, "predictions.parquet")))
    assert not table[f"gate_modality_{masked_modality}"].to_numpy()[table["valid"].to_numpy()].any()
    assert f"with {masked_modality} masked" in other.lines[0]


def test_smoothed_scores_stand_beside_the_raw_ones_which_stay_as_they_are(result, run_uri):
    root = result.output_uri.split("/evaluations/")[0]
    found = evaluate.run(evaluation_config(run_uri, root, smooth="fixed", smooth_valence_s=0.4, smooth_arousal_s=0.0))
    metrics, plain = (json.loads(read(of.output_uri, "metrics.json")) for of in (found, result))
    assert (plain["smoothing"], plain["ccc_smoothed"]) == (None, None)
    assert metrics["ccc"] == plain["ccc"]
    assert metrics["smoothing"] == {"valence_s": 0.4, "arousal_s": 0.0, "tuned_on": None}
    table = pq.read_table(io.BytesIO(read(found.output_uri, "predictions.parquet")))
    x, y = (table[column].to_numpy().astype(float) for column in ("valence_smoothed", "valence"))
    ccc = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert metrics["ccc_smoothed"]["pooled"]["valence"] == pytest.approx(ccc, abs=1e-6)
    assert metrics["ccc_smoothed"]["pooled"]["arousal"] == metrics["ccc"]["pooled"]["arousal"]
    assert "smoothed over 0.40 s (valence) and 0.00 s (arousal): valence" in found.lines[1]


@pytest.mark.parametrize("split", ["test", "val"])
def test_windows_are_tuned_on_the_validation_split_whichever_is_scored(tmp_path, run_uri, split):
    found = evaluate.run(evaluation_config(run_uri, tmp_path, smooth="tuned", split=split))
    metrics = json.loads(read(found.output_uri, "metrics.json"))
    on_val = evaluate.run(evaluation_config(run_uri, tmp_path, smooth="tuned", split="val"))
    assert metrics["smoothing"] == json.loads(read(on_val.output_uri, "metrics.json"))["smoothing"]
    assert metrics["smoothing"]["tuned_on"] == "val"
    flattering = "so the smoothed numbers flatter the model" in read(found.output_uri, "report.html").decode()
    assert flattering is (split == "val")


def test_rejected_videos_are_in_the_denominator_and_in_the_report(tmp_path, run_uri):
    lost = VideoRow("<script>lost", "", "x.mp4", "g", "test", "rejected", "faces", "no_face", "", labelled_frames=50)
    dataset = write_dataset(tmp_path / "other", small_config(), {"test": small_segments("test", 1)}, rejected=[lost])
    result = evaluate.run(evaluation_config(run_uri, tmp_path, dataset=dataset.uri))
    metrics = json.loads(read(result.output_uri, "metrics.json"))
    assert metrics["frames"]["labelled"] == metrics["frames"]["scored"] + 50
    page = read(result.output_uri, "report.html").decode()
    assert "&lt;script&gt;lost" in page
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org/", "")


def test_what_cannot_be_evaluated_is_an_error_before_any_work(tmp_path, run_uri, dataset):
    with pytest.raises(UsageError, match=r"evaluate\.run is empty"):
        evaluate.run(evaluation_config("", tmp_path))
    with pytest.raises(UsageError, match="is not a run"):
        evaluate.run(evaluation_config(str(tmp_path / "nothing"), tmp_path))
    with pytest.raises(UsageError, match="is not a finished dataset"):
        evaluate.run(evaluation_config(run_uri, tmp_path, dataset=str(tmp_path / "nothing")))
    only_train = small_dataset(tmp_path / "train", val=0, test=0)
    with pytest.raises(UsageError, match=r"the test split .* has no samples"):
        evaluate.run(evaluation_config(run_uri, tmp_path, dataset=only_train.uri))
    without_val = small_dataset(tmp_path / "without_val", val=0)
    with pytest.raises(UsageError, match=r"the val split .* has no samples"):
        evaluate.run(evaluation_config(run_uri, tmp_path, dataset=without_val.uri, smooth="tuned"))
    unfinished = tmp_path / "unfinished"
    storage.publish_bytes(read(run_uri, "config.json"), str(unfinished / "config.json"))
    with pytest.raises(UsageError, match=r"is not finished: it has no run\.json"):
        evaluate.run(evaluation_config(str(unfinished), tmp_path))
    assert not os.path.exists(tmp_path / "evaluations")


@pytest.mark.parametrize(
    ("section", "name", "other"),
    [("media", "crop_px", 32), ("media", "sample_rate_hz", 44100), ("faces", "margin", 0.5), ("sound", "n_fft", 512)],
)
def test_a_dataset_with_other_crops_or_spectrograms_is_rejected(tmp_path, run_uri, section, name, other):
    config = small_config()
    changed = dataclasses.replace(getattr(config, section), **{name: other})
    different = config.model_copy(update={section: changed})
    dataset = write_dataset(tmp_path / "other", different, {"test": small_segments("test", 1)})
    with pytest.raises(
        UsageError,
        match=rf"has {section}\.{name} {other}, the run was trained with .*: preprocess it with the run's settings",
    ):
        evaluate.run(evaluation_config(run_uri, tmp_path, dataset=dataset.uri))
