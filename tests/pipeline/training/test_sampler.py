import dataclasses
import time

import pytest

from pipeline.training import sampler
from tests.support.fake_dataset import index_row, make_segment

ROWS = [index_row(make_segment(f"v{i}", num_frames=32 if i else 3), "train-00000.tar", i, 1) for i in range(7)]


def flat(samples):
    return [(sample.row.key, phase) for sample in samples for phase in sample.phases]


def samples_of(epoch, rows=ROWS, seed=0):
    return sampler.training_samples(rows, stride=8, num_phases=4, seed=seed, epoch=epoch)


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else():
    assert samples_of(1) == samples_of(1, rows=ROWS[::-1])
    assert samples_of(1) != samples_of(2)
    assert samples_of(1) != samples_of(1, seed=1)


def test_phases_are_distinct_and_a_segment_shorter_than_the_stride_has_only_its_own():
    for sample in samples_of(3):
        assert len(set(sample.phases)) == len(sample.phases) == min(4, sample.row.num_frames)
        assert max(sample.phases) < min(8, sample.row.num_frames)


def test_every_phase_comes_up_over_the_epochs():
    key = ROWS[1].key
    phases = {phase for epoch in range(20) for name, phase in flat(samples_of(epoch)) if name == key}
    assert phases == set(range(8))


@pytest.mark.parametrize("batch_size", [1, 5, 8, 100])
def test_batches_lose_nothing_and_differ_by_one_at_most(batch_size):
    batches = sampler.batches(samples_of(0), batch_size)
    assert flat(sample for batch in batches for sample in batch) == flat(samples_of(0))
    sizes = [len(flat(batch)) for batch in batches]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_ranks_together_see_the_global_batch_in_its_order_with_equal_lengths(world_size):
    for batch in sampler.batches(samples_of(0), 6):
        parts = [sampler.rank_slice(batch, rank, world_size) for rank in range(world_size)]
        assert flat(sample for part in parts for sample in part.samples) == flat(batch)
        assert len({len(flat(part.samples)) + part.num_padding for part in parts}) == 1
        for part in parts:
            assert flat(part.samples) == flat(batch)[part.first : part.first + len(flat(part.samples))]


@pytest.mark.parametrize(
    ("groups", "positions"),
    [
        ("AABB", [2, 2, 0, 0]),
        ("ABCA", [1, 2, 3, 1]),
        ("AAA", [None, None, None]),
        (["A", None, "B", None], [2, None, 0, None]),
        ([None, "A"], [None, None]),
        ("A", [None]),
        ("", []),
    ],
)
def test_the_next_sequence_of_another_group_is_found(groups, positions):
    assert sampler.positions_of_other_groups(groups) == positions


def test_many_segments_are_put_into_batches_within_seconds():
    rows = [dataclasses.replace(ROWS[1], key=f"{i:05}") for i in range(20_000)]
    samples = sampler.validation_samples(rows, stride=8, num_phases=4)
    started = time.process_time()
    batches = sampler.batches(samples, 16)
    assert len(batches) == 5000
    assert time.process_time() - started < 10, "the time must not grow with segments times batches"


def test_validation_samples_are_the_same_each_time_in_the_order_of_the_keys():
    samples = sampler.validation_samples(ROWS[::-1], stride=8, num_phases=4)
    assert [sample.row.key for sample in samples] == sorted(row.key for row in ROWS)
    assert samples[1].phases == (0, 2, 4, 6)
