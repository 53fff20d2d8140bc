"""What is hardly meant is said before training: an epoch that is a single step, and workers that share cores."""

import numpy as np
import pytest

from pipeline.training import sampler
from pipeline.training.notices import training_notices
from tests.support.fake_run import small_config


class FakeRow:
    """A row of the index, as far as sequences are counted by it."""

    def __init__(self, num_frames=32):
        self.num_frames = num_frames


ROWS = [FakeRow() for _ in range(6)]  # 4 phases of each: 24 sequences


def test_one_step_an_epoch_is_announced():
    assert training_notices(small_config(batch_size=23), ROWS, num_cores=1) == []
    (notice,) = training_notices(small_config(batch_size=100_000, epochs=3), ROWS, num_cores=1)
    assert notice == (
        "train.batch_size is 100000, and an epoch has 24 sequences: each epoch is one step, 3 steps in all at most; a "
        "smaller batch gives more"
    )
    (notice,) = training_notices(small_config(batch_size=24, epochs=1), ROWS, num_cores=1)
    assert "each epoch is one step, 1 step in all" in notice


def test_workers_that_share_cores_are_announced():
    assert training_notices(small_config(num_workers=3), ROWS, num_cores=3) == []
    (notice,) = training_notices(small_config(num_workers=9), ROWS, num_cores=3)
    assert notice == (
        "train.num_workers is 9: they share the 3 cores of this machine, which is no faster than one worker for each"
    )
    assert "the 1 core of" in training_notices(small_config(num_workers=2), ROWS, num_cores=1)[0]
    assert training_notices(small_config(num_workers=9, use_gpu=True), ROWS, num_cores=3) == []
    assert training_notices(small_config(num_workers=9), ROWS, num_cores=None) == []  # Ray gives each its own


class FakeKeyedRow(FakeRow):
    """A row that can be put into the order of an epoch."""

    def __init__(self, key, num_frames):
        super().__init__(num_frames)
        self.key = key


@pytest.mark.parametrize("num_phases", [1, 4, 5, 40])
def test_sequences_are_counted_as_they_are_sampled(num_phases):
    random = np.random.default_rng(num_phases)
    rows = [FakeKeyedRow(str(i), int(random.integers(1, 60))) for i in range(50)]
    view = {"stride": 32, "num_phases": num_phases}
    count = sampler.count_sequences(rows, **view)
    assert count == sum(len(s.phases) for s in sampler.training_samples(rows, **view, seed=3, epoch=2))
    assert count == sum(len(s.phases) for s in sampler.validation_samples(rows, **view))
    assert sampler.count_sequences([], **view) == 0
