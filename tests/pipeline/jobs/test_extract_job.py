"""Features of a whole dataset: extracted, verified, trained on, evaluated; on one worker, on two, and after a kill."""

import dataclasses
import io
import json
import os
import shutil
import signal
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from iaca_model.backbones.normalisation import normalise_mel
from iaca_model.backbones.residual import resnet_18
from pipeline import storage
from pipeline.config import UsageError
from pipeline.config.job_sections import ExtractConfig, VerifyConfig, WeightsConfig
from pipeline.dataset.build import versions
from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.format.dataset_info import DatasetError, read_dataset, read_index, read_videos
from pipeline.jobs import evaluate, extract, train, verify
from pipeline.jobs.workers.feature_extractor import ExtractionTask, FeatureExtractor
from pipeline.training import run_record, sequences
from pipeline.training.loader import read_segment
from tests.support.fake_run import finished_run, small_config, small_dataset
from tests.support.preprocessing import result_of, start_job, survivors, wait_for


@pytest.fixture(scope="module", autouse=True)
def torch_as_it_was():
    """Workers settle how torch computes in their process, which here is that of all tests."""
    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(mode=False)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "talkers")


@pytest.fixture(scope="module")
def run_uri(tmp_path_factory, raw):
    return finished_run(tmp_path_factory.mktemp("root"), raw, epochs=1)


def configured(root, dataset_uri, run_uri="", **changes):
    config = small_config(root)
    return config.model_copy(update={"extract": ExtractConfig(dataset_uri, run_uri), **changes})


def verified(folder, repair=False):
    return small_config().model_copy(update={"verify": VerifyConfig(str(folder), repair)})


def extracted(config, uri):
    """The dataset of features, made in this process without Ray."""
    parent = read_dataset(config.extract.dataset)
    plan = extract.plan_extraction(config, parent)
    worker = FeatureExtractor(plan, uri)
    results = [worker(ExtractionTask(shard.name, shard.sha256)) for shard in parent.shards]
    assert not any(result.error for result in results)
    records = [result.record for result in results]
    return commit_dataset(uri, plan.config, records, plan.toolchain, features=plan.origin)


@pytest.fixture(scope="module")
def features(tmp_path_factory, raw, run_uri):
    root = tmp_path_factory.mktemp("features")
    return extracted(configured(root, raw.uri, run_uri), str(root / "datasets/small-0"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, features):
    return finished_run(tmp_path_factory.mktemp("trained"), features, epochs=1)


def evaluated(root, run_uri, **evaluation):
    config = small_config(root)
    changed = dataclasses.replace(config.evaluate, run=run_uri, **evaluation)
    return evaluate.run(config.model_copy(update={"evaluate": changed}))


def predictions(result):
    return pq.read_table(io.BytesIO(storage.read_bytes(storage.join(result.output_uri, "predictions.parquet"))))


def test_it_is_a_dataset_like_any_other(raw, run_uri, features):
    found = read_dataset(features.uri)
    assert found.features == features.features
    assert (found.features.parent, found.features.parent_digest) == ("talkers", raw.digest)
    assert found.features.run == Path(run_uri).name
    assert found.features.run_weights_sha256 == run_record.require_record(run_uri).weights_sha256
    assert [shard.name for shard in found.shards] == [shard.name for shard in raw.shards]
    before, after = (read_index(info.uri) for info in (raw, found))
    assert [dataclasses.replace(row, offset=0, size=0) for row in after] == [
        dataclasses.replace(row, offset=0, size=0) for row in before
    ]
    assert sum(row.size for row in after) < sum(row.size for row in before)
    videos = [[(v.video_id, v.status, v.labelled_frames) for v in read_videos(i.uri)] for i in (raw, found)]
    assert videos[0] == videos[1]
    for one, two in zip(before, after, strict=True):
        assert read_segment(raw.uri, one).frames.tobytes() == read_segment(found.uri, two).frames.tobytes()
    card = storage.read_text(storage.join(found.uri, "README.md"))
    assert f"from the dataset `talkers` (digest `{raw.digest}`)" in card
    assert "faces.mjpeg" not in card


def test_verify_reads_it_and_what_is_damaged_is_extracted_anew(features, raw, run_uri, tmp_path):
    copy = shutil.copytree(features.uri, tmp_path / "copy")
    assert verify.run(verified(copy)).lines[0].startswith("3 shards and 10 samples")
    tar = copy / "shards/val-00000.tar"
    tar.write_bytes(tar.read_bytes()[:-1] + b"\1")
    with pytest.raises(DatasetError, match="1 of 3 shards"):
        verify.run(verified(copy))
    with pytest.raises(UsageError, match=r"remove its dataset\.json and run the same iaca extract again"):
        verify.run(verified(copy, repair=True))
    (copy / "dataset.json").unlink()
    kept = {path.name: path.stat().st_mtime_ns for path in copy.glob("shards/t*.tar")}
    assert extracted(configured(tmp_path, raw.uri, run_uri), str(copy)).digest == features.digest
    assert {name: (copy / "shards" / name).stat().st_mtime_ns for name in kept} == kept
    verify.run(verified(copy))


def test_a_run_on_features_records_it_and_is_evaluated_on_every_labelled_frame(trained, features, tmp_path):
    done = run_record.require_record(trained)
    assert done.features == features.features
    whole = evaluated(tmp_path, trained)
    metrics = json.loads(storage.read_bytes(storage.join(whole.output_uri, "metrics.json")))
    assert metrics["frames"]["labelled"] == metrics["frames"]["scored"] == 128
    assert "of tiny backbones with the run small-" in storage.read_text(storage.join(whole.output_uri, "report.html"))
    deaf = predictions(evaluated(tmp_path, trained, masked_modality="audio"))
    changed = np.abs(deaf["valence_pred"].to_numpy() - predictions(whole)["valence_pred"].to_numpy())
    assert changed.max() > 1e-4
    assert (deaf["gate_modality_video"].to_numpy()[deaf["valid"].to_numpy()] == 1).all()


def test_a_model_for_other_features_is_refused_before_anything_starts(features, tmp_path):
    for section, changes, why in (
        ("model", {"feature_dim": 16}, "model.feature_dim is 16, but the features of this dataset were made with 8"),
        ("sequence", {"subclip_dilation": 4}, "sequence.subclip_dilation is 4, .* were made with 2"),
    ):
        config = small_config(tmp_path)
        config = config.model_copy(update={"train": dataclasses.replace(config.train, dataset=features.uri)})
        other = config.model_copy(update={section: dataclasses.replace(getattr(config, section), **changes)})
        with pytest.raises(UsageError, match=why):
            train.run(other)
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_together_is_refused(raw, features, run_uri, trained, tmp_path):
    with pytest.raises(UsageError, match=r"trained on crops and sound, but .* holds features"):
        evaluated(tmp_path, run_uri, dataset=features.uri)
    with pytest.raises(UsageError, match=r"trained on features, but .* holds crops and sound"):
        evaluated(tmp_path, trained, dataset=raw.uri)
    with pytest.raises(UsageError, match="holds features already"):
        extract.run(configured(tmp_path, features.uri, run_uri))
    with pytest.raises(UsageError, match="has no backbones"):
        extract.run(configured(tmp_path, raw.uri, trained))
    with pytest.raises(UsageError, match=r"model\.backbone is tiny"):
        extract.run(configured(tmp_path, raw.uri))


def test_it_is_extended_by_way_of_its_parent(features):
    with pytest.raises(UsageError, match="extend the dataset talkers"):
        versions.require_same_settings(features.config, features)


def test_a_damaged_shard_of_the_parent_is_named(raw, run_uri, tmp_path):
    damaged = small_dataset(tmp_path / "talkers")
    tar = Path(damaged.uri, "shards/val-00000.tar")
    tar.write_bytes(tar.read_bytes()[:-1] + b"\1")
    plan = extract.plan_extraction(configured(tmp_path, damaged.uri, run_uri), damaged)
    shard = next(shard for shard in damaged.shards if shard.name == "val-00000")
    worker = FeatureExtractor(plan, str(tmp_path / "features"))
    result = worker(ExtractionTask(shard.name, shard.sha256))
    assert result.error.startswith(f"val-00000: {tar} has sha256 ")
    assert not (tmp_path / "features").exists()


def test_published_weights_serve_without_a_run(raw, tmp_path):
    torch.manual_seed(3)
    body = resnet_18()
    data = safetensors.torch.save(body.state_dict())
    (tmp_path / "audio.safetensors").write_bytes(data)
    weights = WeightsConfig(audio=str(tmp_path / "audio.safetensors"), audio_sha256=sha256(data).hexdigest())
    config = configured(tmp_path, raw.uri, weights=weights)
    hearing = {"backbone": "residual", "feature_dim": 512, "modalities": "audio", "frozen": "all"}
    config = config.model_copy(update={"model": dataclasses.replace(config.model, **hearing)})
    plan = extract.plan_extraction(config, raw)
    assert (plan.origin.run, plan.origin.video_weights_sha256) == ("", "")
    assert plan.origin.audio_weights_sha256 == weights.audio_sha256
    shard = next(shard for shard in raw.shards if shard.name == "val-00000")
    worker = FeatureExtractor(plan, str(tmp_path / "features"))
    made = worker.extract(ExtractionTask(shard.name, shard.sha256))
    before = next(row for row in read_index(raw.uri) if row.key == made.samples[1].key)
    clips = sequences.cut_clips(read_segment(raw.uri, before), (3,), config.sequence, config.input_spec)
    found = read_segment(str(tmp_path / "features"), made.samples[1]).features
    with torch.no_grad():
        pictures = normalise_mel(clips.mel_BLSM[0]).mT[:, None]
        heard = body.eval()(pictures).mean((-2, -1)).numpy()
    assert found.ok_N2[3::8].tolist() == [[False, True]] * 4
    assert found.audio_ND[3::8] == pytest.approx(heard, rel=2e-3, abs=1e-3)
    broken = dataclasses.replace(config.weights, audio_sha256="0" * 64)
    with pytest.raises(UsageError, match="has sha256"):
        extract.run(config.model_copy(update={"weights": broken}))


@pytest.mark.slow
def test_one_worker_and_two_give_the_same_bytes_and_a_rerun_finds_them(raw, run_uri, features, tmp_path):
    for num_workers in (1, 2):
        root = tmp_path / f"{num_workers}"
        config = configured(root, raw.uri, run_uri)
        cluster = dataclasses.replace(config.cluster, num_workers=num_workers)
        config = config.model_copy(update={"cluster": cluster})
        result = result_of(start_job(config, root / "job", "extract"), root / "job")
        assert read_dataset(result.output_uri).digest == features.digest
        assert not result.skipped
    again = extract.run(config)
    assert (again.skipped, again.output_uri) == (True, result.output_uri)


@pytest.mark.chaos
def test_a_killed_extraction_goes_on_with_the_shards_that_are_there(tmp_path, run_uri):
    raw = small_dataset(tmp_path / "talkers", train=24, val=12)
    config = configured(tmp_path, raw.uri, run_uri)
    whole = extracted(config, str(tmp_path / "undisturbed"))
    process = start_job(config, tmp_path / "job", "extract")
    found = wait_for(lambda: list(tmp_path.glob("datasets/*/shards/*.json")))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not survivors(tmp_path / "job"))
    uri = found[0].parents[1]
    assert not (uri / "dataset.json").exists(), "it was killed too late to tell anything"
    first = {path.name: path.stat().st_mtime_ns for path in uri.glob("shards/*.json")}
    result = result_of(start_job(config, tmp_path / "again", "extract"), tmp_path / "again")
    assert result.output_uri == str(uri)
    assert read_dataset(result.output_uri).digest == whole.digest
    assert {name: (uri / "shards" / name).stat().st_mtime_ns for name in first} == first
    assert f"{len(first)} of 3 shards are there from an earlier run" in (tmp_path / "again/output.txt").read_text()
