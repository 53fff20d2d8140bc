"""Preprocessing in parallel on Ray: a look at every file before the plan, then one actor call per shard."""

from __future__ import annotations

import functools
import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.config import Config, UsageError
from pipeline.dataset.format import shards
from pipeline.dataset.plan.scan import look
from pipeline.dataset.plan.scan_cache import ScanCache
from pipeline.dataset.plan.shard_plan import ScanResult, plan_to_json
from pipeline.jobs.ray_session import start_ray
from pipeline.jobs.workers.shard_builder import MAX_CRASHES, ShardBuilder, load_detector
from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.records import ShardPlan, ShardRecord, Video
from pipeline.runtime import job_process
from pipeline.runtime.environment import is_verbose
from pipeline.runtime.progress import Progress, emit
from pipeline.storage.download_cache import LastCopy
from pipeline.storage.scratch import remove_abandoned

LOOKS_PER_CPU = 4  # asked for ahead of the answers
MAX_RESTARTS = 100  # of one worker: more than this is no longer about single videos
MAX_LOSSES = 3  # of workers with their machines, one after the other, without a shard finished in between
PROGRESS_EVERY = 50


@contextmanager
def ray_session() -> Iterator[None]:
    """Ray for the time of the body, if it is needed: `_connect` starts it."""
    try:
        yield
    finally:
        import sys

        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
        remove_abandoned()


def _connect(config: Config) -> Any:
    if not is_verbose():
        os.environ.setdefault("RAY_DATA_LOG_LEVEL", "CRITICAL")
    import ray

    if not ray.is_initialized():
        start_ray(config.cluster.num_workers or None)
    return ray


def scan_videos(videos: Sequence[Video], config: Config, toolchain: dict[str, str]) -> dict[str, ScanResult]:
    """The facts of every stream by its key; files whose facts are not remembered are looked at in parallel."""
    memory = ScanCache(config, toolchain)
    known = {video.key: memory.recall(video) for video in videos}
    facts = {key: found for key, found in known.items() if found}
    unknown = [video for video in videos if video.key not in facts]
    try:
        for video, found in _looks(unknown, config):
            facts[video.key] = found or ScanResult()
            if found:
                memory.learn(video, found)
                _report_incomplete(video, found)
            if len(facts) % PROGRESS_EVERY == 0 or len(facts) == len(videos):
                emit(Progress("look", len(facts), len(videos), "videos"))
    finally:
        memory.save()
    return facts


def _report_incomplete(video: Video, found: ScanResult) -> None:
    if not found.complete:
        print(
            f"{video.uri}: its keyframes were not decoded within media.timeout_s, so that each of its spans may follow "
            "somebody else; raise it and run again",
            flush=True,
        )


def _looks(videos: Sequence[Video], config: Config) -> Iterator[tuple[Video, ScanResult | None]]:
    """ScanResult in the order in which they are found; None where there are none, or where looking upsets or kills."""
    if not videos:
        return
    ray = _connect(config)
    ask = ray.remote(num_cpus=1, max_retries=MAX_CRASHES - 1)(_look)
    settings = ray.put(config)
    queue, asked = iter(_by_file(videos)), {}
    window = LOOKS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
    while True:
        for streams in queue:
            asked[ask.remote(streams, settings)] = streams
            if len(asked) >= window:
                break
        if not asked:
            return
        (done,), _ = ray.wait(list(asked))
        streams = asked.pop(done)
        try:
            yield from zip(streams, ray.get(done), strict=True)
        except (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.OutOfMemoryError,
            ray.exceptions.RayTaskError,
        ) as error:
            if isinstance(error, OSError | UsageError):  # the storage's fault, or the detector's
                raise
            why = job_process.message_of(error).splitlines()[0]
            print(f"{streams[0].uri}: looking at it failed ({why}); it is planned as if it had no length", flush=True)
            yield from ((video, None) for video in streams)


def _by_file(videos: Sequence[Video]) -> list[list[Video]]:
    """The streams of each file together, so that who looks at one need not fetch it again for the other."""
    files: dict[str, list[Video]] = {}
    for video in videos:
        files.setdefault(video.uri, []).append(video)
    return list(files.values())


def _look(streams: Sequence[Video], config: Config) -> list[ScanResult | None]:
    """What a look at the streams of one file finds."""
    ffmpeg, copies = find_ffmpeg(), LastCopy()
    load = functools.partial(load_detector, config)
    return [look(video, config, ffmpeg=ffmpeg, load_detector=load, copies=copies) for video in streams]


def build_shards(
    plans: Sequence[ShardPlan], config: Config, uri: str, toolchain: dict[str, str]
) -> Iterator[ShardRecord]:
    """The records of the shards of `plans` in the order in which they are finished.

    A machine that is lost takes its workers with it, and Ray would bring them back only where a core is free: the
    machines that remain are asked anew for the shards that are left.

    Raises:
        RuntimeError: something that is no video's fault stopped a shard.
    """
    by_name, run = {plan.name: plan for plan in plans}, uuid.uuid4().hex

    def ask(names: list[str]) -> Iterator[dict[str, str]]:
        return _on_actors([by_name[name] for name in names], config, uri, toolchain, {}, run)

    return records_of(list(by_name), ask)


def records_of(names: Sequence[str], ask: Callable[[list[str]], Iterator[dict[str, str]]]) -> Iterator[ShardRecord]:
    """The records of shards from the answers to `ask`, which is asked again for those that were lost on the way."""
    left, num_losses = dict.fromkeys(names), 0
    while left:
        try:
            for row in ask(list(left)):
                record = _record_of(row)
                del left[record.name]
                num_losses = 0
                yield record
        except _losses():
            if num_losses == MAX_LOSSES:
                raise
            num_losses += 1
            print(f"a worker was lost with its machine; {len(left)} shards are asked for again", flush=True)


def _record_of(row: dict[str, str]) -> ShardRecord:
    if row["error"]:
        raise RuntimeError(row["error"])
    return shards.record_from_json(row["record"])


def _losses() -> tuple[type[Exception], ...]:
    """What Ray raises when a worker, or its answer, went with its machine."""
    from ray.exceptions import NodeDiedError, ObjectLostError, RayActorError, WorkerCrashedError

    return NodeDiedError, ObjectLostError, RayActorError, WorkerCrashedError


def repair_shards(
    plans: Sequence[ShardPlan], config: Config, uri: str, toolchain: dict[str, str], sha256: dict[str, str]
) -> Iterator[str]:
    """For every plan, in no particular order, what is wrong with the tar that was built again; "" when nothing is."""
    for row in _on_actors(plans, config, uri, toolchain, sha256, run=uuid.uuid4().hex):
        yield row["error"]


def _on_actors(
    plans: Sequence[ShardPlan], config: Config, uri: str, toolchain: dict[str, str], sha256: dict[str, str], run: str
) -> Iterator[dict[str, str]]:
    """What ShardBuilders answer; `sha256` of shards that are to be repaired, by their names; `run` for their marks."""
    if not plans:
        return
    load_detector(config)  # a wrong model is better refused here than by every worker
    most_spans = max(len(plan.spans) for plan in plans)
    items = [{"plan": plan_to_json(plan), "sha256": sha256.get(plan.name, "")} for plan in plans]
    given, idle_timeout_s = (config.to_json(), uri, toolchain, run), 2 * config.media.timeout_s * most_spans
    yield from answers(ShardBuilder, given, items, config, Limits(MAX_CRASHES * (most_spans + 1), idle_timeout_s))


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call of an actor may cost."""

    num_retries: int  # after its actor died
    idle_timeout_s: float  # without any answer
    use_gpu: bool = False  # besides its core, each actor has a GPU


def answers(
    worker: type, given: tuple[Any, ...], items: list[dict[str, str]], config: Config, limits: Limits
) -> Iterator[dict[str, str]]:
    """What actors answer to `items`, one call for each, in the order in which they are done.

    Args:
        worker: the class of the actors, whose instances are called.
        given: what they are made with.
        items: small rows of text.
        config: says how many actors there are.
        limits: what a call may cost.
    """
    ray = _connect(config)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True  # its message is for people
    context.execution_no_progress_timeout_s = limits.idle_timeout_s
    num_workers = num_actors(ray.cluster_resources(), len(items), config, use_gpu=limits.use_gpu)
    with warnings.catch_warnings():  # Ray < 2.64 takes these arguments, and knows no others to the same effect
        warnings.simplefilter("ignore", DeprecationWarning)
        built = ray.data.from_items(items, override_num_blocks=len(items)).map(
            worker,  # type: ignore[arg-type]  # a class whose instances are called
            fn_constructor_args=given,
            compute=ray.data.ActorPoolStrategy(size=num_workers, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=1 if limits.use_gpu else None,
            max_restarts=MAX_RESTARTS,
            max_task_retries=limits.num_retries,
        )
    with _own_words():
        # Rows would come one late: while the first waits, iter_rows fetches the second.
        for batch in built.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from batch.to_pylist()


def num_actors(resources: Mapping[str, float], num_items: int, config: Config, *, use_gpu: bool) -> int:
    """How many actors answer to `num_items`: one on each core or GPU, unless the configuration says otherwise.

    Where there is no core yet one actor is asked for: a cluster that grows with its work grows for it.
    """
    places = int(resources.get("GPU" if use_gpu else "CPU", 0))
    if use_gpu and not places:
        raise UsageError("extract.use_gpu is set, but Ray sees no GPU here")
    return min(num_items, config.cluster.num_workers or max(1, places))


@contextmanager
def _own_words() -> Iterator[None]:
    """Let a worker that refuses to begin say why, without Ray's account of where."""
    import ray

    try:
        yield
    except ray.exceptions.ActorDiedError as error:
        if not error.actor_init_failed:
            raise
        raise RuntimeError(job_process.message_of(error.args[0])) from error
