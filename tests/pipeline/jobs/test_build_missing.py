"""The loop over what is left of a dataset: its order, what it tells, and what ends it early."""

from types import SimpleNamespace

import pytest

from pipeline.dataset.format import shards
from pipeline.jobs import build_missing
from pipeline.jobs.workers import shard_builder
from pipeline.runtime.progress import parse
from tests.support.preprocessing import config_of, plans_of

DIGESTS = {"a": "1", "b": "2"}


def test_records_come_in_the_order_of_the_plan_whoever_is_done_first(tmp_path, capsys):
    asked = []

    def make(names):
        asked.extend(names)
        yield from (SimpleNamespace(name=name) for name in reversed(names))

    found = build_missing.completed(DIGESTS, str(tmp_path), make, lambda record: f"{record.name} is done")
    assert asked == ["a", "b"]
    assert [record.name for record in found] == ["a", "b"]
    told = [parse(line) for line in capsys.readouterr().out.splitlines()]
    assert [(step.done, step.total, step.message) for step in told] == [
        (0, 2, ""),
        (1, 2, "b is done"),
        (2, 2, "a is done"),
    ]


def test_an_interruption_says_what_is_kept(tmp_path, capsys):
    def make(names):
        yield SimpleNamespace(name=names[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_missing.completed(DIGESTS, str(tmp_path), make, lambda record: record.name)
    assert "at least 1 of 2 shards are finished and kept; the same command continues" in capsys.readouterr().out


def test_a_hopeless_build_asks_for_no_further_shard(talkers, tmp_path, monkeypatch):
    config = config_of(talkers, tmp_path, shards={"max_videos": 1, "max_rejected_fraction": 0.1})
    plans = plans_of(config, "broken", "person00_clip0", "person00_clip1")
    plans.sort(key=lambda plan: plan.spans[0].video.key != "broken")
    worker, built = (
        shard_builder.ShardBuilder(config.to_json(), str(tmp_path / "d"), shard_builder.find_toolchain()),
        [],
    )

    def build_shards(plans, *_):
        for plan in plans:
            built.append(plan.spans[0].video.key)
            yield worker.build(plan)

    monkeypatch.setattr(build_missing, "build_shards", build_shards)
    with pytest.raises(shards.DatasetError, match="1 of 3 videos were rejected"):
        build_missing.build(plans, config, str(tmp_path / "d"), worker.toolchain)
    assert built == ["broken"]
