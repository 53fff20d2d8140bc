"""The ablation job with a real Ray Tune: concurrent trials, nothing done twice, failures said."""

import dataclasses
import json

import pytest
import torch

from pipeline import storage
from pipeline.ablation.trial import Trial
from pipeline.ablation.variants import list_variants
from pipeline.config import Config, UsageError, load
from pipeline.jobs import ablate
from tests.support.fake_features import SECTIONS, small_features

TINY = {"num_steps": 4, "feature_dim": 4, "num_train": 16, "num_test": 16, "updates": 2, "batch_size": 4}
GRID = {
    "bases": "ca",
    "gates": "none,iaca",
    "extras": "",
    "fronts": "",
    "num_seeds": 2,
    "first_seed": 0,
    "num_workers": 2,
}


def config(root, **changes) -> Config:
    return load(None, {"name": "tiny", "storage": {"root": str(root)}, "ablate": {**TINY, **GRID, **changes}})


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    root = tmp_path_factory.mktemp("ablation")
    return root, ablate.run(config(root))


def test_every_trial_is_done_and_compared(first):
    _, result = first
    assert result.counts == {"variants": 2, "trials": 4, "trained": 4}
    assert not result.skipped
    record = json.loads(storage.read_text(f"{result.output_uri}/ablation.json"))
    assert [(row["variant"], row["num_seeds"]) for row in record["rows"]] == [("ca", 2), ("ca+iaca", 2)]
    assert any("| ca+iaca |" in line for line in result.lines)


def test_a_rerun_computes_nothing(first):
    root, result = first
    again = ablate.run(config(root))
    assert (again.skipped, again.output_uri) == (True, result.output_uri)
    assert again.lines == result.lines


@pytest.mark.slow
def test_another_attempt_does_only_what_is_missing(first, capsys):
    root, result = first
    requested = config(root)
    lost = Trial(list_variants(requested.ablate)[0], 1, requested.ablate)
    kept = f"{root}/ablations/trials"
    before = {entry.uri: storage.read_bytes(entry.uri) for entry in storage.list_files(kept)}
    storage.delete(f"{kept}/{lost.digest}.json")
    storage.delete(f"{result.output_uri}/ablation.json")
    again = ablate.run(requested)
    assert again.counts["trained"] == 1
    assert again.lines == result.lines
    assert "ca seed 1: CCC" in capsys.readouterr().out
    after = {entry.uri: json.loads(storage.read_bytes(entry.uri)) for entry in storage.list_files(kept)}
    numbers = {uri: {**json.loads(data), "cpu_s": 0} for uri, data in before.items()}
    assert {uri: {**found, "cpu_s": 0} for uri, found in after.items()} == numbers


def test_an_unknown_name_is_refused_before_ray_starts(tmp_path):
    with pytest.raises(UsageError, match=r"ablate\.bases names rnn"):
        ablate.run(config(tmp_path, bases="rnn"))
    assert not (tmp_path / "ablations").exists()


@pytest.mark.slow
def test_features_of_a_dataset_are_learnt_from_and_accounted_for(tmp_path):
    dataset = small_features(tmp_path / "features")
    model = {"temporal": "blstm", "joint_dim": 8, "head_dim": 8}
    fronts = "front,front+iaca,control,oracle"
    ablate_section = {**TINY, **GRID, "fronts": fronts, "dataset": dataset.uri, "num_seeds": 1}
    sections = {**SECTIONS, "storage": {"root": str(tmp_path)}, "model": model, "ablate": ablate_section}
    requested = load(None, {**sections, "name": "felt"})
    result = ablate.run(requested)
    assert result.counts == {"variants": 6, "trials": 6, "trained": 6, "mb_per_worker": 0.009}
    record = json.loads(storage.read_text(f"{result.output_uri}/ablation.json"))
    assert record["data"]["test"] == {"sequences": 24, "videos": 3, "labelled_frames": 96}
    assert {row["variant"]: list(row["detection"]) for row in record["rows"]} == {
        "ca": [],
        "ca+iaca": ["modality"],
        "ca+front": ["reliability"],
        "ca+front+iaca": ["reliability", "modality"],
        "ca+control": [],
        "ca+oracle": [],
    }
    assert any(line.startswith("| ca+front+iaca, reliability |") for line in result.lines)
    assert result.lines[0] == "Ablation felt on features"
    assert "Of ten moments of training the one with the best mean CCC on val" in result.lines[2]
    assert "flatters" not in result.lines[2]
    assert ablate.run(requested).skipped


def test_what_a_worker_would_wait_for_for_ever_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there are no features yet"):
        ablate.run(config(tmp_path, data="source"))
    if not torch.cuda.is_available():
        asked = config(tmp_path)
        on_gpu = asked.model_copy(update={"ablate": dataclasses.replace(asked.ablate, use_gpu=True)})
        with pytest.raises(UsageError, match="this machine has no GPU"):
            ablate.run(on_gpu)
