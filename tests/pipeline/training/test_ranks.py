import dataclasses
from contextlib import suppress

import pytest
import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from pipeline.training import checkpoint
from pipeline.training.history import read_rows
from pipeline.training.ranks import Ranks
from pipeline.training.trainer import Trainer
from tests.support.fake_run import in_folder, small_plan, without_noise


class EnoughError(Exception):
    pass


def until(epoch):
    """To be called after each epoch: leaves the training after that one, as if it had been killed."""

    def leave(measured):
        if measured["epoch"] == epoch:
            raise EnoughError

    return leave


def train_rank(rank, world_size, plan, store, last_epoch):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    with suppress(EnoughError):
        Trainer(plan, Ranks(rank, world_size), wrap=DistributedDataParallel).run(after_epoch=until(last_epoch))
    distributed.destroy_process_group()


def train_on(world_size, plan, directory, last_epoch=0):
    there = in_folder(plan, directory / f"run{world_size}")
    arguments = (world_size, there, directory / f"store{world_size}", last_epoch)
    multiprocessing.spawn(train_rank, arguments, nprocs=world_size)
    return there.run_uri


def keep_statistics(rank, world_size, plan, store, directory):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    trainer = Trainer(plan, Ranks(rank, world_size), wrap=DistributedDataParallel)
    trainer.run(after_epoch=lambda _: torch.save(dict(trainer._unwrapped.named_buffers()), directory / f"{rank}.pt"))
    distributed.destroy_process_group()


def rows(run_uri, name):
    return [row[name] for row in read_rows(run_uri) if name in row]


def test_two_ranks_train_the_model_that_one_trains(tmp_path):
    # 16 sequences in batches of 5 and 6: parts of unequal length, padded
    plan = without_noise(small_plan(tmp_path, batch_size=6, epochs=2))
    Trainer(plan, Ranks()).run()
    alone = checkpoint.load_newest(plan.run_uri)[0]
    run_uri = train_on(2, plan, tmp_path)
    together = checkpoint.load_newest(run_uri)[0]
    assert rows(run_uri, "loss") == pytest.approx(rows(plan.run_uri, "loss"), abs=1e-5)
    assert rows(run_uri, "val_ccc_mean") == pytest.approx(rows(plan.run_uri, "val_ccc_mean"), abs=1e-4)
    for name, tensor in alone.model.items():
        assert torch.allclose(together.model[name], tensor, atol=1e-4), name


def test_two_ranks_corrupt_the_sequences_that_one_corrupts(tmp_path):
    healthy = without_noise(small_plan(tmp_path, batch_size=6, epochs=1))
    # Swapped spans are left out: what may be swapped in depends on the rank's part.
    train = dataclasses.replace(healthy.config.train, corrupt_modality=0.9, corrupt_swapped=0.0)
    plan = dataclasses.replace(healthy, config=healthy.config.model_copy(update={"train": train}))
    run_uri = train_on(2, plan, tmp_path)
    losses = []
    for given in (plan, in_folder(healthy, tmp_path / "healthy")):
        Trainer(given, Ranks()).run()
        losses.append(rows(given.run_uri, "loss"))
    assert rows(run_uri, "loss") == pytest.approx(losses[0], abs=1e-5)
    assert losses[0] != pytest.approx(losses[1], abs=1e-3)


def test_a_run_goes_on_with_another_number_of_ranks(tmp_path):
    plan = without_noise(small_plan(tmp_path, batch_size=6, epochs=3))
    Trainer(plan, Ranks()).run()
    alone = checkpoint.load_newest(plan.run_uri)[0]
    moving = in_folder(plan, tmp_path / "run2")
    with pytest.raises(EnoughError):
        Trainer(moving, Ranks()).run(after_epoch=until(1))
    train_on(2, plan, tmp_path, last_epoch=2)
    assert checkpoint.steps(moving.run_uri)[-1] == 6
    assert Trainer(moving, Ranks()).run(attempt=3).epochs_done == 3
    assert rows(moving.run_uri, "loss") == pytest.approx(rows(plan.run_uri, "loss"), abs=1e-5)
    moved = checkpoint.load_newest(moving.run_uri)[0]
    for name, tensor in alone.model.items():
        assert torch.allclose(moved.model[name], tensor, atol=1e-4), name


@pytest.mark.slow
def test_every_rank_judges_the_batch_statistics_that_are_saved(tmp_path):
    plan = small_plan(tmp_path, batch_size=8, epochs=1)
    hearing = {"backbone": "residual", "modalities": "audio", "base": "concat", "gate": "none"}
    model = dataclasses.replace(plan.config.model, **hearing)
    plan = dataclasses.replace(plan, config=plan.config.model_copy(update={"model": model}))
    multiprocessing.spawn(keep_statistics, (2, plan, tmp_path / "store", tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    saved = checkpoint.load_newest(plan.run_uri)[0].model
    moved = [name for name in first if "running_mean" in name]
    assert moved
    for name in moved:
        assert torch.equal(first[name], saved[name])
        assert torch.equal(second[name], saved[name])


def test_a_single_rank_needs_no_process_group():
    sums = torch.ones(6, 2, requires_grad=True)
    assert Ranks().all_reduce_with_gradient(sums) is sums
    assert Ranks().all_reduce_sum(sums) is sums
    assert Ranks().broadcast_from_first(sums) is sums
