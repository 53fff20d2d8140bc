import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from pipeline import storage
from pipeline.training import checkpoint, run_record
from pipeline.training.history import read_rows
from pipeline.training.ranks import Ranks
from pipeline.training.run_record import SupersededError
from pipeline.training.trainer import Trainer
from tests.support.fake_run import in_folder, small_plan


def stop_at(trainer, step):
    """Let `trainer` train until `step` is done and its checkpoint is written, then break off."""
    save = trainer._save

    def save_and_stop(history):
        save(history)
        if trainer.state.step == step:
            raise KeyboardInterrupt

    trainer._save = save_and_stop
    with pytest.raises(KeyboardInterrupt):
        trainer.run()


def weights(run_uri, step):
    return checkpoint.load(run_uri, step).model


def assert_equal_runs(one, other, step):
    ours, theirs = checkpoint.load(one, step), checkpoint.load(other, step)
    assert all(torch.equal(ours.model[name], theirs.model[name]) for name in theirs.model)
    assert ours.state == theirs.state
    losses = [[(row["step"], row["loss"]) for row in read_rows(uri) if "loss" in row] for uri in (one, other)]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == list(range(1, step + 1))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    plan = small_plan(tmp_path_factory.mktemp("undisturbed"))
    trainer = Trainer(plan, Ranks())
    assert trainer.run().step == 4
    return plan


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_stopped_and_resumed_equals_an_undisturbed_one_to_the_bit(undisturbed, tmp_path, stop):
    plan = in_folder(undisturbed, tmp_path / "resumed")
    stop_at(Trainer(plan, Ranks()), stop)
    resumed = Trainer(plan, Ranks())
    assert resumed.state.step == stop
    resumed.run(attempt=2)
    assert_equal_runs(plan.run_uri, undisturbed.run_uri, 4)
    assert [row["attempt"] for row in read_rows(plan.run_uri) if "attempt" in row] == [1, 2]


def test_a_run_with_corruption_is_another_one_and_as_repeatable(undisturbed, tmp_path):
    whole = small_plan(tmp_path, corrupt_modality=0.9)
    Trainer(whole, Ranks()).run()
    plan = in_folder(whole, tmp_path / "resumed")
    stop_at(Trainer(plan, Ranks()), 1)  # in the middle of an epoch
    Trainer(plan, Ranks()).run(attempt=2)
    assert_equal_runs(plan.run_uri, whole.run_uri, 4)
    losses = [[row["loss"] for row in read_rows(uri) if "loss" in row] for uri in (whole.run_uri, undisturbed.run_uri)]
    assert losses[0][0] != losses[1][0]


def test_a_run_in_bfloat16_is_another_one_and_as_repeatable(undisturbed, tmp_path):
    whole = small_plan(tmp_path, precision="bfloat16")
    Trainer(whole, Ranks()).run()
    plan = in_folder(whole, tmp_path / "resumed")
    stop_at(Trainer(plan, Ranks()), 2)
    Trainer(plan, Ranks()).run(attempt=2)
    assert_equal_runs(plan.run_uri, whole.run_uri, 4)
    narrow, wide = weights(whole.run_uri, 4), weights(undisturbed.run_uri, 4)
    assert all(narrow[name].dtype == wide[name].dtype for name in wide)
    assert any(not torch.equal(narrow[name], wide[name]) for name in wide)


def test_a_damaged_newest_checkpoint_costs_its_steps_and_nothing_else(undisturbed, tmp_path):
    plan = in_folder(undisturbed, tmp_path / "damaged")
    stop_at(Trainer(plan, Ranks()), 3)
    storage.publish_bytes(b"not weights", storage.join(checkpoint.folder(plan.run_uri, 3), checkpoint.WEIGHTS))
    resumed = Trainer(plan, Ranks())
    assert resumed.state.step == 2
    assert "model.safetensors" in resumed.damaged_checkpoints[0]
    resumed.run(attempt=2)
    assert_equal_runs(plan.run_uri, undisturbed.run_uri, 4)


def test_of_two_at_once_the_later_one_goes_on(undisturbed, tmp_path):
    plan = in_folder(undisturbed, tmp_path / "raced")
    first = Trainer(plan, Ranks())
    attempts = [run_record.start_attempt(plan.run_uri)]
    with pytest.raises(SupersededError, match=r"was started again elsewhere.*\(attempt 1\) stops"):
        first.run(attempts[0], after_epoch=lambda _: attempts.append(run_record.start_attempt(plan.run_uri)))
    assert attempts == [1, 2]
    assert Trainer(plan, Ranks()).run(attempts[1]).step == 4
    assert_equal_runs(plan.run_uri, undisturbed.run_uri, 4)


def test_attempts_that_start_at_once_have_different_numbers(storage_root):
    with ThreadPoolExecutor(4) as threads:
        claimed = list(threads.map(lambda _: run_record.start_attempt(storage_root), range(4)))
    assert sorted(claimed) == [1, 2, 3, 4]
    assert run_record.count_attempts(storage_root) == 4
    run_record.require_newest_attempt(storage_root, 4)
    with pytest.raises(SupersededError):
        run_record.require_newest_attempt(storage_root, 3)


def test_training_changes_the_weights_and_writes_its_history(undisturbed):
    rows = read_rows(undisturbed.run_uri)
    epochs = [row for row in rows if "val_ccc_mean" in row]
    assert [row["epoch"] for row in epochs] == [1, 2]
    assert all(0 <= row["train_loss"] <= 4 for row in epochs)
    before, after = weights(undisturbed.run_uri, 3), weights(undisturbed.run_uri, 4)
    assert any(not torch.equal(before[name], after[name]) for name in after)
    best = json.loads(storage.read_bytes(storage.join(undisturbed.run_uri, "best.json")))
    assert best["val_ccc_mean"] == max(row["val_ccc_mean"] for row in epochs)
    assert best["step"] in checkpoint.steps(undisturbed.run_uri)
    assert storage.exists(storage.join(undisturbed.run_uri, "tensorboard"))


def test_a_finished_run_does_nothing_more(undisturbed):
    trainer = Trainer(undisturbed, Ranks())
    assert trainer.is_over


def test_it_stops_when_validation_gets_no_better(tmp_path):
    plan = small_plan(tmp_path, epochs=50, patience=2, learning_rate=1e-12)
    state = Trainer(plan, Ranks()).run()
    assert state.epochs_done < 50
    assert state.epochs_since_best == 2


def test_it_learns_what_the_pictures_and_the_sound_show(tmp_path):
    plan = small_plan(tmp_path, epochs=25, patience=25, drop_modality=0.0, checkpoint_every_steps=1000)
    assert Trainer(plan, Ranks()).run().best_ccc > 0.5


def test_unreadable_samples_are_counted_and_a_row_of_them_stops_the_run(tmp_path):
    plan = small_plan(tmp_path, epochs=1)
    shard = tmp_path / "dataset" / "shards" / "train-00000.tar"
    data = bytearray(shard.read_bytes())
    row = plan.train_rows[1]
    data[row.offset : row.offset + row.size] = bytes(row.size)
    shard.write_bytes(data)
    assert Trainer(plan, Ranks()).run().num_unreadable == 1
    shard.write_bytes(bytes(len(data)))
    with pytest.raises(RuntimeError, match=r"3 samples in a row cannot be read \(train.max_bad_samples is 2\)"):
        Trainer(small_plan_of(plan, tmp_path), Ranks()).run()


def small_plan_of(plan, directory):
    import dataclasses

    config = plan.config.model_copy(update={"train": dataclasses.replace(plan.config.train, max_bad_samples=2)})
    return dataclasses.replace(plan, config=config, run_uri=str(directory / "other"))
