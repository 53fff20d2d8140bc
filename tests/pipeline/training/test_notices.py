"""What is hardly meant is said before training: an epoch that is a single step, and workers that share cores."""

import dataclasses

import numpy as np
import pytest

from pipeline.training import sampler
from pipeline.training.notices import training_notices, training_warnings
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


class FakeGroupedRow(FakeKeyedRow):
    """A row of a group."""

    def __init__(self, key, group, num_frames=32):
        super().__init__(key, num_frames)
        self.group = group


PEOPLE = [FakeGroupedRow(f"{group}{i}", group) for group in "abcdefgh" for i in range(3)]  # 96 sequences


def test_spans_that_nothing_replaces_are_announced():
    def notices(rows=PEOPLE, **train):
        return training_notices(small_config(**{"corrupt_modality": 0.5, "batch_size": 16, **train}), rows, None)

    assert notices() == []
    (notice,) = notices(num_workers=4)  # 4 sequences each, the phases of one segment
    assert notice.endswith(
        "of the sequences are in a worker's part of a batch with one group only: there train.corrupt_swapped has "
        "nothing to swap in, and the span stays healthy; raise train.batch_size (16), or lower train.num_workers (4) "
        "or train.phases_per_segment (4)"
    )
    assert notices(num_workers=4, phases_per_segment=1) == []
    assert notices(num_workers=4, corrupt_swapped=0.0) == []
    assert notices(num_workers=4, corrupt_modality=0.0) == []
    (notice,) = notices(rows=[FakeGroupedRow(f"a{i}", "a") for i in range(24)])
    assert notice.startswith("100.0% of the sequences are in a worker's part of a batch with one group only")


def test_a_front_that_never_meets_corruption_is_announced_by_its_settings():
    def with_front(front, **train):
        config = small_config(**train)
        return config.model_copy(update={"model": dataclasses.replace(config.model, front=front)})

    (warning,) = training_warnings(with_front("reliability"))
    assert warning == (
        "model.front is reliability, but train.corrupt_modality is 0: a front that meets no corruption in training does"
        " not learn what to detect, and gains nothing reliable on corrupted data (docs/reliability-front.md); set "
        "train.corrupt_modality, e.g. to 0.5, or model.front to none"
    )
    assert training_warnings(with_front("reliability", corrupt_modality=0.1)) == []
    assert training_warnings(with_front("none")) == []
    assert training_warnings(with_front("none", corrupt_modality=0.1)) == []
