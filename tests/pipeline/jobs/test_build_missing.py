"""The loop over the missing shards of a dataset: its order, what it reports, and what ends it early."""

import pytest

from pipeline.dataset.format.dataset_info import DatasetError
from pipeline.jobs.build_dataset import BuildTarget, build_shards
from pipeline.jobs.build_missing import ShardTasks, build_missing
from pipeline.jobs.workers.pool import ActorOptions
from pipeline.jobs.workers.shard_result import ShardResult
from pipeline.records import ShardRecord
from pipeline.runtime.progress import parse
from tests.support.fake_pool import FakePool
from tests.support.preprocessing import builder_of, config_of, plans_of

TASKS = ShardTasks(None, (), ActorOptions(0, 1.0), {"a": "do a", "b": "do b"}, {"a": "1", "b": "2"}, lambda: None)


def done(task):
    return ShardResult(ShardRecord(task[-1], "", 2_000_000, "", (), ()))


def test_records_come_in_the_order_of_the_plan_whichever_is_done_first(tmp_path, capsys):
    pool = FakePool(done, backwards=True)
    records = build_missing(TASKS, str(tmp_path), pool)
    assert pool.submitted == ["do a", "do b"]
    assert pool.started == ["do b", "do a"]
    assert [record.name for record in records] == ["a", "b"]
    steps = [parse(line) for line in capsys.readouterr().out.splitlines()]
    assert [(step.done, step.total, step.message) for step in steps] == [
        (0, 2, ""),
        (1, 2, "b: 0 videos, 0 rejected, 2.0 MB"),
        (2, 2, "a: 0 videos, 0 rejected, 2.0 MB"),
    ]


def test_an_interruption_reports_what_is_kept(tmp_path, capsys):
    def interrupted(task):
        if task == "do b":
            raise KeyboardInterrupt
        return done(task)

    with pytest.raises(KeyboardInterrupt):
        build_missing(TASKS, str(tmp_path), FakePool(interrupted))
    assert "at least 1 of 2 shards are finished and kept; the same command continues" in capsys.readouterr().out


def test_what_stops_a_shard_stops_the_build_with_its_message(tmp_path):
    pool = FakePool(lambda task: ShardResult(error="a: no space left"))
    with pytest.raises(RuntimeError, match=r"^a: no space left$"):
        build_missing(TASKS, str(tmp_path), pool)
    assert pool.started == ["do a"]


def test_a_hopeless_build_starts_no_further_shard(talkers, tmp_path):
    config = config_of(talkers, tmp_path, shards={"max_videos": 1, "max_rejected_fraction": 0.1})
    plans = plans_of(config, "broken", "person00_clip0", "person00_clip1")
    plans.sort(key=lambda plan: plan.spans[0].video.key != "broken")
    builder = builder_of(config, str(tmp_path / "d"))
    pool = FakePool(builder)
    with pytest.raises(DatasetError, match="1 of 3 videos were rejected"):
        build_shards(BuildTarget(str(tmp_path / "d"), config, builder.toolchain), plans, pool)
    assert [plan.spans[0].video.key for plan in pool.started] == ["broken"]
