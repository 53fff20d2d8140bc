"""The pool of workers of one job, on Ray: long tasks on actors, short calls for the scans of files."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from pipeline.config import Config, UsageError
from pipeline.jobs.ray_session import start_ray
from pipeline.jobs.resources import Demand, require_ray_resources
from pipeline.records.serialize import from_json, to_json
from pipeline.runtime.environment import is_verbose
from pipeline.runtime.error_messages import message_of
from pipeline.storage.scratch import remove_abandoned

CALLS_PER_CPU = 4  # submitted ahead of their results
MAX_RESTARTS = 100  # of one actor: more than this is no longer about single videos
MAX_NODE_LOSSES = 3  # of workers with their machines, one after the other, without a result in between

_Task = TypeVar("_Task")
_TaskIn = TypeVar("_TaskIn", contravariant=True)
_Result = TypeVar("_Result")
_ResultOut = TypeVar("_ResultOut", covariant=True)


class Worker(Protocol[_TaskIn, _ResultOut]):
    """A callable object in an actor process: made once, because loading models takes seconds, called for each task.

    What stops a task for a reason that people should read is part of the result: raised, it would reach the driver
    wrapped in advice about Ray.
    """

    task_type: ClassVar[type]  # records of plain values, for `pipeline.records.serialize`
    result_type: ClassVar[type]

    def __call__(self, task: _TaskIn, /) -> _ResultOut:
        """Do one task."""
        ...


@dataclass(frozen=True, slots=True)
class ActorOptions:
    """What an actor is given, and how many failures and seconds a call of it may take."""

    num_retries: int  # after its actor died
    idle_timeout_s: float  # without any result
    gpu_demand: Demand | None = None  # besides its core, each actor has a GPU, and Ray must have what this asks for


@dataclass(frozen=True, slots=True)
class CallFailure:
    """A call that gave no result, because it raised an error or killed its process."""

    reason: str
    is_transient: bool = False  # nothing of the input made it fail, and another call may give a result


class WorkerPool:
    """Workers for the time of a `with` block.

    Ray starts when the first task or call needs it, and ends with the block: a job that finds everything finished
    never starts it. Media and tars never enter Ray's object store: tasks and results are small rows of JSON text.
    """

    def __init__(self, config: Config) -> None:
        self.num_workers = config.cluster.num_workers  # 0: one on each core or GPU
        self._started_ray = False

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started_ray:
            import ray

            ray.shutdown()
        remove_abandoned()

    def map(
        self,
        worker: type[Worker[_Task, _Result]],
        init_args: tuple[Any, ...],
        tasks: Sequence[_Task],
        actor_options: ActorOptions,
    ) -> Iterator[_Result]:
        """Do tasks on actors, one actor call for each, and yield the results as they are finished.

        A machine that is lost takes its workers with it, and Ray would bring them back only where a core is free.
        Therefore the tasks that are left are submitted anew to the machines that remain, up to `MAX_NODE_LOSSES` times
        in a row without a result.

        Args:
            worker: the class of the workers.
            init_args: what each of them is made with.
            tasks: records of `worker.task_type`.
            actor_options: retries, time and GPU of each call.

        Raises:
            UsageError: a GPU is asked for, and Ray has none.
            RuntimeError: a worker cannot be made; the message is its own.
        """
        remaining, num_losses = dict(enumerate(tasks)), 0
        while remaining:
            try:
                for index, result in self._call_actors(worker, init_args, remaining, actor_options):
                    del remaining[index]
                    num_losses = 0
                    yield result
            except _lost_worker_errors():
                if num_losses == MAX_NODE_LOSSES:
                    raise
                num_losses += 1
                print(f"a worker was lost with its machine; {len(remaining)} tasks are submitted again", flush=True)

    def map_files(
        self,
        function: Callable[[_Task, Config], _Result],
        files: Sequence[_Task],
        config: Config,
        num_retries: int,
    ) -> Iterator[tuple[_Task, _Result | CallFailure]]:
        """Call a function for each file on any free core, and yield what it returns as it is finished.

        A file that raises an error or kills its process is a failure of its own, and the others go on.

        Args:
            function: called with a file and the configuration.
            files: what is known of each file, in one picklable value.
            config: the experiment.
            num_retries: of a call whose process died.

        Raises:
            OSError: the storage does not answer.
            UsageError: a setting cannot be used, for example the detector's model.
        """
        if not files:
            return
        self._connect()
        import ray

        call = ray.remote(num_cpus=1, max_retries=num_retries)(function)
        shared_config = ray.put(config)
        max_pending = CALLS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
        queue, pending = iter(files), dict[Any, _Task]()
        while True:
            for file in itertools.islice(queue, max_pending - len(pending)):
                pending[call.remote(file, shared_config)] = file
            if not pending:
                return
            (finished,), _ = ray.wait(list(pending))
            yield pending.pop(finished), _result_of(finished)

    def _call_actors(
        self,
        worker: type[Worker[_Task, _Result]],
        init_args: tuple[Any, ...],
        tasks: Mapping[int, _Task],
        actor_options: ActorOptions,
    ) -> Iterator[tuple[int, _Result]]:
        """The results of tasks with their indices, in the order in which they are finished."""
        self._connect()
        import ray

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.raise_original_map_exception = True  # its message is for people
        context.execution_no_progress_timeout_s = actor_options.idle_timeout_s
        use_gpu = actor_options.gpu_demand is not None
        if actor_options.gpu_demand:
            require_ray_resources(actor_options.gpu_demand)
        num_workers = num_actors(ray.cluster_resources(), len(tasks), self.num_workers, use_gpu=use_gpu)
        rows = [{"index": index, "task": to_json(task)} for index, task in tasks.items()]
        with warnings.catch_warnings():  # Ray < 2.64 takes these arguments, and knows no others to the same effect
            warnings.simplefilter("ignore", DeprecationWarning)
            results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                _RowWorker,  # type: ignore[arg-type]  # a class whose instances are called
                fn_constructor_args=(worker, init_args),
                compute=ray.data.ActorPoolStrategy(size=num_workers, max_tasks_in_flight_per_actor=1),
                num_cpus=1,
                num_gpus=1 if use_gpu else None,
                max_restarts=MAX_RESTARTS,
                max_task_retries=actor_options.num_retries,
            )
        with _unwrap_init_errors():
            # Rows would come one late: while the first waits, iter_rows fetches the second.
            for batch in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for row in batch.to_pylist():  # type: ignore[union-attr]  # with this format it is a pyarrow.Table
                    yield row["index"], from_json(worker.result_type, row["result"])

    def _connect(self) -> None:
        """Connect to the cluster of this job, or start its private Ray."""
        if not is_verbose():
            os.environ.setdefault("RAY_DATA_LOG_LEVEL", "CRITICAL")
        import ray

        if not ray.is_initialized():
            self._started_ray = True
            start_ray(self.num_workers or None)


class _RowWorker:
    """A worker as Ray Data calls it: with rows of JSON text."""

    def __init__(self, worker: type[Worker[Any, Any]], init_args: tuple[Any, ...]) -> None:
        self.worker = worker(*init_args)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        task: Any = from_json(self.worker.task_type, row["task"])
        return {"index": row["index"], "result": to_json(self.worker(task))}


def num_actors(resources: Mapping[str, float], num_tasks: int, num_workers: int, *, use_gpu: bool) -> int:
    """How many actors do `num_tasks`: `num_workers`, or where that is 0 one on each core or GPU.

    Where there is no core or GPU yet one actor is started: a cluster that grows with its work grows for it.
    """
    num_slots = int(resources.get("GPU" if use_gpu else "CPU", 0))
    return min(num_tasks, num_workers or max(1, num_slots))


def _result_of(reference: Any) -> Any:
    """What a call returned, or why it returned nothing."""
    import ray

    try:
        return ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.RayTaskError) as error:
        if isinstance(error, OSError | UsageError):  # not the file's fault: the storage's, or a setting's
            raise
        reason = message_of(error).splitlines()[0]
        return CallFailure(reason, is_transient=isinstance(error, ray.exceptions.OutOfMemoryError))


def _lost_worker_errors() -> tuple[type[Exception], ...]:
    """What Ray raises when a worker, or its result, was lost with its machine."""
    from ray.exceptions import NodeDiedError, ObjectLostError, RayActorError, WorkerCrashedError

    return NodeDiedError, ObjectLostError, RayActorError, WorkerCrashedError


@contextmanager
def _unwrap_init_errors() -> Iterator[None]:
    """Raise the message of a worker that cannot be made, without Ray's account of where it happened."""
    import ray

    try:
        yield
    except ray.exceptions.ActorDiedError as error:
        if not error.actor_init_failed:
            raise
        raise RuntimeError(message_of(error.args[0])) from error
