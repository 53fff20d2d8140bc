import json

import pytest
import torch

from pipeline import storage
from pipeline.training import checkpoint
from pipeline.training.checkpoint import Checkpoint, DamagedCheckpointError, TrainingState


def make(step, best_step=0):
    weights = {"head.weight": torch.full((2, 3), float(step)), "head.bias": torch.arange(2.0)}
    optimizer = {"state": {0: {"step": torch.tensor(float(step))}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    state = TrainingState(step=step, epochs_done=1, batches_done=step, best_ccc=0.25, best_step=best_step)
    return Checkpoint(state, weights, optimizer)


@pytest.fixture
def run_uri(tmp_path):
    for step in (5, 10):
        checkpoint.save(str(tmp_path), make(step))
    return str(tmp_path)


def test_what_is_saved_is_loaded(run_uri):
    loaded, damaged = checkpoint.load_newest(run_uri)
    assert damaged == []
    assert loaded.state == make(10).state
    assert all(torch.equal(loaded.model[name], tensor) for name, tensor in make(10).model.items())
    assert loaded.optimizer["param_groups"] == make(10).optimizer["param_groups"]
    assert torch.equal(loaded.optimizer["state"][0]["step"], torch.tensor(10.0))


def test_a_new_run_has_none(tmp_path):
    assert checkpoint.load_newest(str(tmp_path)) == (None, [])


@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.OPTIMIZER, checkpoint.STATE])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_checkpoint_is_left_out_and_named(run_uri, name, damage):
    uri = storage.join(checkpoint.folder(run_uri, 10), name)
    data = storage.read_bytes(uri)
    if damage == "missing":
        storage.delete(uri)
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        storage.publish_bytes(data[:middle] if damage == "truncated" else flipped, uri)
    loaded, damaged = checkpoint.load_newest(run_uri)
    assert loaded.state.step == 5
    assert len(damaged) == 1
    assert "checkpoint 10 is damaged" in damaged[0]
    assert name in damaged[0]


def test_a_manifest_that_is_not_json_is_damage_and_one_that_is_absent_is_no_checkpoint(run_uri):
    manifest = storage.join(checkpoint.folder(run_uri, 10), checkpoint.MANIFEST)
    storage.publish_bytes(b"{", manifest)
    assert checkpoint.load_newest(run_uri)[0].state.step == 5
    storage.delete(manifest)
    assert checkpoint.steps(run_uri) == [5]


def test_weights_alone_are_checked_too(run_uri):
    uri = storage.join(checkpoint.folder(run_uri, 10), checkpoint.WEIGHTS)
    assert checkpoint.weights_sha256(run_uri, 10)
    storage.publish_bytes(storage.read_bytes(uri)[:-1], uri)
    with pytest.raises(DamagedCheckpointError, match="its manifest says"):
        checkpoint.load_weights(run_uri, 10)


def test_a_checkpoint_that_would_run_code_is_refused_even_with_a_matching_digest(run_uri, tmp_path):
    import hashlib
    import pickle

    canary = tmp_path / "canary"

    class RunsCode:
        def __reduce__(self):
            return (canary.write_text, ("run",))

    folder = checkpoint.folder(run_uri, 10)
    malicious = pickle.dumps(RunsCode())
    storage.publish_bytes(malicious, storage.join(folder, checkpoint.OPTIMIZER))
    manifest = json.loads(storage.read_bytes(storage.join(folder, checkpoint.MANIFEST)))
    manifest["sha256"][checkpoint.OPTIMIZER] = hashlib.sha256(malicious).hexdigest()
    storage.publish_bytes(json.dumps(manifest).encode(), storage.join(folder, checkpoint.MANIFEST))
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load(run_uri, 10)
    assert not canary.exists()


def test_pruning_keeps_the_newest_and_the_best(run_uri):
    for step in (15, 20, 25):
        checkpoint.save(run_uri, make(step))
    checkpoint.prune(run_uri, keep=2, best_step=10)
    assert checkpoint.steps(run_uri) == [10, 20, 25]
    left = {entry.uri.split("/")[-2] for entry in storage.list_files(storage.join(run_uri, "checkpoints"))}
    assert left == {"00000010", "00000020", "00000025"}


def test_the_best_is_remembered_and_epochs_without_a_better_one_are_counted():
    first = TrainingState(step=3).after_validation(-0.1)
    assert (first.best_ccc, first.best_step, first.epochs_since_best) == (-0.1, 3, 0)
    assert first.after_validation(-0.2).epochs_since_best == 1
    assert first.after_validation(0.2).best_ccc == 0.2
