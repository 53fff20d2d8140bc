"""The pool of workers: results as they come, machines that are lost, and how many workers there are."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from ray.exceptions import WorkerCrashedError

from pipeline.config import UsageError, load
from pipeline.jobs.resources import Demand
from pipeline.jobs.workers import pool
from pipeline.jobs.workers.pool import ActorOptions, WorkerPool, num_actors
from pipeline.storage import StoredFile

ONE_WORKER = load(None, {"cluster": {"num_workers": 1}})
ACTOR_OPTIONS = ActorOptions(num_retries=0, idle_timeout_s=60)


def test_a_result_is_there_before_the_next_is(tmp_path, local_ray):
    class FakeSlowWorker:  # in here, for Ray to send it with its code: workers do not know this module
        task_type, result_type = StoredFile, StoredFile

        def __call__(self, task):
            time.sleep(task.size_bytes)
            Path(task.uri).touch()
            return task

    tasks = [StoredFile(str(tmp_path / name), seconds, "") for name, seconds in (("first", 0), ("second", 3))]
    results = WorkerPool(ONE_WORKER).map(FakeSlowWorker, (), tasks, ACTOR_OPTIONS)
    assert next(results) == tasks[0]
    assert not Path(tasks[1].uri).exists()
    assert list(results) == tasks[1:]


class FakeUnstablePool(WorkerPool):
    """A pool whose machine is lost after each of the tasks in `finished`, or where it is None before any is done."""

    def __init__(self, finished):
        super().__init__(ONE_WORKER)
        self.finished, self.submitted = list(finished), []

    def _call_actors(self, worker, init_args, tasks, actor_options):
        self.submitted.append(sorted(tasks.values()))
        index = self.finished.pop(0)
        if index is not None:
            yield index, f"{tasks[index]} is done"
        if len(tasks) > 1:
            raise WorkerCrashedError


def test_tasks_that_are_left_when_a_machine_is_lost_are_submitted_again(capsys):
    unstable = FakeUnstablePool([1, None, 2, 0])
    results = unstable.map(None, (), ["a", "b", "c"], ACTOR_OPTIONS)
    assert list(results) == ["b is done", "c is done", "a is done"]
    assert unstable.submitted == [["a", "b", "c"], ["a", "c"], ["a", "c"], ["a"]]
    assert capsys.readouterr().out.count("a worker was lost with its machine; 2 tasks are submitted again") == 2


def test_machines_that_are_lost_without_any_result_end_it():
    unstable = FakeUnstablePool([0, *[None] * 9])
    results = unstable.map(None, (), ["a", "b", "c"], ACTOR_OPTIONS)
    assert next(results) == "a is done"
    with pytest.raises(WorkerCrashedError):
        next(results)
    assert len(unstable.submitted) == 1 + pool.MAX_NODE_LOSSES


def test_there_is_an_actor_for_each_core_and_one_where_cores_are_yet_to_come():
    assert num_actors({"CPU": 8.0}, 5, 0, use_gpu=False) == 5
    assert num_actors({"CPU": 8.0}, 50, 0, use_gpu=False) == 8
    assert num_actors({"CPU": 8.0}, 50, 2, use_gpu=False) == 2
    assert num_actors({"CPU": 8.0, "GPU": 1.0}, 50, 0, use_gpu=True) == 1
    assert num_actors({"memory": 1e9}, 50, 0, use_gpu=False) == 1
    assert num_actors({"CPU": 8.0}, 50, 0, use_gpu=True) == 1


def test_actors_that_need_a_gpu_are_refused_where_ray_has_none(local_ray):
    """By the settings of the job that asks for them."""
    options = replace(ACTOR_OPTIONS, gpu_demand=Demand("evaluate", 1, use_gpu=True))
    with pytest.raises(
        UsageError, match=r"^evaluate\.use_gpu is set, which needs 1 GPU, but Ray sees no GPU and 2 CPUs"
    ):
        next(WorkerPool(ONE_WORKER).map(None, (), [StoredFile("a", 1, "")], options))
