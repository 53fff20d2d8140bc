import pytest

from pipeline.training import order
from tests.fake_dataset import index_row, make_segment

ROWS = [index_row(make_segment(f"v{i}", num_frames=32 if i else 3), "train-00000.tar", i, 1) for i in range(7)]


def flat(visits):
    return [(visit.row.key, phase) for visit in visits for phase in visit.phases]


def visits_of(epoch, rows=ROWS, seed=0):
    return order.training_visits(rows, stride=8, num_phases=4, seed=seed, epoch=epoch)


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else():
    assert visits_of(1) == visits_of(1, rows=ROWS[::-1])
    assert visits_of(1) != visits_of(2)
    assert visits_of(1) != visits_of(1, seed=1)


def test_phases_are_distinct_and_a_segment_shorter_than_the_stride_has_only_its_own():
    for visit in visits_of(3):
        assert len(set(visit.phases)) == len(visit.phases) == min(4, visit.row.num_frames)
        assert max(visit.phases) < min(8, visit.row.num_frames)


def test_every_phase_comes_up_over_the_epochs():
    key = ROWS[1].key
    seen = {phase for epoch in range(20) for name, phase in flat(visits_of(epoch)) if name == key}
    assert seen == set(range(8))


@pytest.mark.parametrize("batch_size", [1, 5, 8, 100])
def test_batches_lose_nothing_and_differ_by_one_at_most(batch_size):
    batches = order.batches(visits_of(0), batch_size)
    assert flat(visit for batch in batches for visit in batch) == flat(visits_of(0))
    sizes = [len(flat(batch)) for batch in batches]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_ranks_together_see_the_global_batch_in_its_order_with_equal_lengths(world_size):
    for batch in order.batches(visits_of(0), 6):
        parts = [order.part(batch, rank, world_size) for rank in range(world_size)]
        assert flat(visit for visits, _ in parts for visit in visits) == flat(batch)
        assert len({len(flat(visits)) + padding for visits, padding in parts}) == 1


def test_validation_visits_are_the_same_each_time_in_the_order_of_the_keys():
    visits = order.validation_visits(ROWS[::-1], stride=8, num_phases=4)
    assert [visit.row.key for visit in visits] == sorted(row.key for row in ROWS)
    assert visits[1].phases == (0, 2, 4, 6)
