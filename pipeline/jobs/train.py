"""The job that trains a run on a dataset with Ray Train: any number of data-parallel workers, resumed when one dies."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.dataset.format import shards
from pipeline.dataset.format.dataset_info import DatasetError, DatasetInfo, read_dataset, read_index
from pipeline.jobs.ray_session import start_ray
from pipeline.jobs.resources import Demand, require_ray_resources, require_resources, shared_cores
from pipeline.records import SampleRow
from pipeline.records.quantities import count_text
from pipeline.runtime import job_process
from pipeline.runtime.error_messages import message_of
from pipeline.runtime.progress import JobResult, Progress, emit, emit_notices
from pipeline.training import run_record, sampler
from pipeline.training.compatibility import config_for_dataset, require_features_fit
from pipeline.training.notices import training_notices, training_warnings
from pipeline.training.run_record import RunRecord

if TYPE_CHECKING:
    from ray.train.v2.api.exceptions import TrainingFailedError

POLL_S = 1.0
CRASH_DETECTION_S = 3.0  # within which Ray notices that a worker has died
NUM_HASHED_AT_ONCE = 8  # shards; on object storage one stream is slow
RAY_SETTINGS = {"RAY_TRAIN_V2_ENABLED": "1", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}


@dataclass(frozen=True, slots=True)
class TrainTask:
    """What each worker of the group trains; Ray Train takes it as a dict."""

    config_json: str
    dataset_uri: str
    run_uri: str


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """A run that is not finished."""

    config: Config  # of the run
    dataset: DatasetInfo
    run_uri: str
    rows_by_split: dict[str, list[SampleRow]]


def prepare(config: Config) -> JobResult | _Unfinished:
    """Check that the run can be trained; its result where it is finished.

    This loads neither Ray nor torch where the run is finished. Otherwise it looks for what the workers need: with
    `train.use_gpu` torch is loaded to find the GPUs, and in a cluster this process attaches to its Ray.

    Raises:
        UsageError: there is no dataset, it has no labels, a split is empty, it holds features that the model or its
            view was not made for, or there are too few GPUs or CPUs.
    """
    started = time.monotonic()
    if not config.train.dataset:
        raise UsageError("train.dataset is empty; give the URI of a dataset that iaca preprocess made")
    dataset = read_dataset(config.train.dataset)
    config = config_for_dataset(config, dataset.config)
    require_features_fit(config, dataset.features)
    run_uri = run_record.run_uri(config, dataset.digest)
    if finished := run_record.read_record(run_uri):
        return _result(config, run_uri, finished, time.monotonic() - started, skipped=True)
    require_resources(_demand(config))
    return _Unfinished(config, dataset, run_uri, labelled_rows_by_split(dataset.uri))


def run(config: Config) -> JobResult:
    """Train on `config.train.dataset`, from the newest checkpoint where an earlier attempt stopped.

    Raises:
        UsageError: see `prepare`.
        DatasetError: a shard's bytes are not those that were committed.
        RuntimeError: training failed, or lost a worker more often than `train.max_failures`.
    """
    started = time.monotonic()
    prepared = prepare(config)
    if isinstance(prepared, JobResult):
        return prepared
    config, dataset, run_uri = prepared.config, prepared.dataset, prepared.run_uri
    rows_by_split = prepared.rows_by_split
    emit_notices(training_warnings(config))
    emit_notices(training_notices(config, rows_by_split["train"], shared_cores()))
    if run_record.count_attempts(run_uri) == 0:
        _require_undamaged(dataset, {row.shard for rows in rows_by_split.values() for row in rows})
    run_record.write_config(run_uri, config)
    _train_with_ray(config, TrainTask(config.to_json(), dataset.uri, run_uri))
    num_segments = {split: len(rows) for split, rows in rows_by_split.items()}
    record = record_of_trained(config, dataset, run_uri, num_segments)
    run_record.write_record(run_uri, record)
    return _result(config, run_uri, record, time.monotonic() - started, skipped=False)


def labelled_rows_by_split(dataset_uri: str) -> dict[str, list[SampleRow]]:
    """The labelled samples of the train and the val split of a dataset.

    Raises:
        UsageError: a split has none.
    """
    rows = read_index(dataset_uri)
    return {split: sampler.labelled_rows(rows, split, dataset_uri) for split in ("train", "val")}


def _require_undamaged(dataset: DatasetInfo, files: set[str]) -> None:
    """Hash the shards that a new run is going to read: the loader's range reads cannot notice a flipped bit."""
    used = [shard for shard in dataset.shards if f"{shard.name}.tar" in files]
    with ThreadPoolExecutor(NUM_HASHED_AT_ONCE) as threads:
        hashes = threads.map(lambda shard: shards.sha256_of_uri(shards.shard_uri(dataset.uri, shard.name)), used)
        for num_done, (shard, sha256) in enumerate(zip(used, hashes, strict=True), start=1):
            emit(Progress("check", num_done, len(used), "shards", shard.name))
            if sha256 != shard.sha256:
                raise DatasetError(
                    f"{shards.shard_uri(dataset.uri, shard.name)} has sha256 {sha256}, dataset.json says "
                    f"{shard.sha256}; iaca verify {dataset.uri} says what else is damaged"
                )


def _train_with_ray(config: Config, task: TrainTask) -> None:
    os.environ.update(RAY_SETTINGS)
    start_ray(num_cpus=max(os.cpu_count() or 1, config.train.num_workers))
    import ray

    try:
        require_ray_resources(_demand(config))
        with report_epochs(task.run_uri, config.train.epochs):
            _train_despite_crashes(config, task)
    finally:
        ray.shutdown()


def _demand(config: Config) -> Demand:
    return Demand("train", config.train.num_workers, config.train.use_gpu)


def _train_despite_crashes(config: Config, task: TrainTask) -> None:
    """Train to the end, starting again up to `train.max_failures` times after a worker crashed.

    An exception that a worker's own code raised ends the job: another attempt would raise it, too.
    """
    from ray.train.v2.api.exceptions import TrainingFailedError

    num_crashes = 0
    while True:
        try:
            _run_worker_group(config, task)
        except TrainingFailedError as error:
            if num_crashes == config.train.max_failures or not _is_worker_crash(error):
                raise _error_of_job(error) from error
            num_crashes += 1
            print(f"{_message_of_worker(error)}; going on from the newest checkpoint", flush=True)
        else:
            return


def _run_worker_group(config: Config, task: TrainTask) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    filesystem, path = storage.arrow_filesystem(task.run_uri)
    TorchTrainer(
        train_worker,
        train_loop_config=asdict(task),
        scaling_config=ScalingConfig(num_workers=config.train.num_workers, use_gpu=config.train.use_gpu),
        run_config=RunConfig(name="ray", storage_path=path, storage_filesystem=filesystem),
    ).fit()


def train_worker(task_fields: dict[str, str]) -> None:
    """What each worker of the group does; Ray Train calls it with the fields of a TrainTask."""
    import ray.train
    import ray.train.torch
    import torch

    from pipeline.training.ranks import Ranks
    from pipeline.training.trainer import Trainer, TrainPlan

    task = TrainTask(**task_fields)
    context = ray.train.get_context()
    # The same number of threads gives the same sums.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True, warn_only=True)
    rows_by_split = labelled_rows_by_split(task.dataset_uri)
    ranks = Ranks(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    attempt = run_record.start_attempt(task.run_uri) if ranks.rank == 0 else 0
    plan = TrainPlan(
        config=Config.model_validate_json(task.config_json),
        dataset_uri=task.dataset_uri,
        run_uri=task.run_uri,
        train_rows=rows_by_split["train"],
        val_rows=rows_by_split["val"],
        features=read_dataset(task.dataset_uri).features,
    )
    try:
        Trainer(plan, ranks, wrap=ray.train.torch.prepare_model).run(attempt, after_epoch=ray.train.report)
    except RuntimeError:
        if ranks.world_size > 1:  # perhaps because another worker crashed: let Ray notice that first
            time.sleep(CRASH_DETECTION_S)
        raise


def record_of_trained(config: Config, dataset: DatasetInfo, run_uri: str, num_segments: dict[str, int]) -> RunRecord:
    """The record of the run at `run_uri`, whose last epoch is done.

    Args:
        config: of the run.
        dataset: the one it was trained on.
        run_uri: where its checkpoints are.
        num_segments: by split.
    """
    from pipeline.training import checkpoint

    newest, _ = checkpoint.load_newest(run_uri)
    assert newest is not None, f"{run_uri} has no checkpoint after training"
    state = newest.state
    assert state.best_ccc is not None
    counts = {
        **{f"{split}_segments": count for split, count in num_segments.items()},
        "parameters": sum(tensor.numel() for tensor in newest.model.values()),
        "unreadable_samples": state.num_unreadable,
        "workers": config.train.num_workers,
    }
    return RunRecord(
        name=config.name,
        dataset_uri=dataset.uri,
        dataset_digest=dataset.digest,
        best_step=state.best_step,
        best_ccc=state.best_ccc,
        weights_sha256=checkpoint.weights_sha256(run_uri, state.best_step),
        num_steps=state.step,
        num_epochs=state.epochs_done,
        attempts=run_record.count_attempts(run_uri),
        counts=counts,
        features=dataset.features,
    )


def _result(config: Config, run_uri: str, record: RunRecord, seconds: float, *, skipped: bool) -> JobResult:
    counts = {
        "val_ccc_mean": record.best_ccc,
        "epochs": record.num_epochs,
        "steps": record.num_steps,
        "attempts": record.attempts,
    }
    epochs = count_text(record.num_epochs, "epoch")
    lines = [f"best validation CCC {record.best_ccc:.3f} at step {record.best_step} of {record.num_steps}, {epochs}"]
    if num_unreadable := record.counts.get("unreadable_samples"):
        lines.append(f"{num_unreadable} reads of samples failed; the workers' log names them")
    if record.attempts > 1:
        lines.append(f"it was started {record.attempts} times, each time from the newest checkpoint")
    return JobResult("train", run_uri, skipped, seconds, counts, tuple(lines), tuple(training_warnings(config)))


def _is_worker_crash(error: TrainingFailedError) -> bool:
    """Whether a worker was lost: then the failure is one of Ray's errors, otherwise what the worker's code raised."""
    from ray.exceptions import RayError
    from ray.train.v2.api.exceptions import RayTrainError

    return any(isinstance(failure, RayError | RayTrainError) for failure in _failures(error).values())


def _error_of_job(error: TrainingFailedError) -> Exception:
    is_usage = any(isinstance(failure, UsageError) for failure in _failures(error).values())
    return (UsageError if is_usage else RuntimeError)(_message_of_worker(error))


def _message_of_worker(error: TrainingFailedError) -> str:
    """The first failed worker's message; that of `error` is its whole traceback."""
    rank, failure = min(_failures(error).items())
    return f"training failed on worker {rank}: {message_of(failure)}"


def _failures(error: TrainingFailedError) -> dict[int, Exception]:
    """Exceptions by rank."""
    return getattr(error, "worker_failures", None) or {0: getattr(error, "controller_failure", error)}


@contextmanager
def report_epochs(run_uri: str, num_epochs: int) -> Iterator[None]:
    """Report each epoch while the body runs: the workers' own output does not reach this process."""
    over = threading.Event()
    thread = threading.Thread(target=_poll_history, args=(run_uri, num_epochs, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _poll_history(run_uri: str, num_epochs: int, over: threading.Event) -> None:
    from pipeline.training.history import read_rows

    num_reported = 0
    is_last = False
    while not is_last:
        is_last = over.wait(POLL_S)
        try:
            epochs = [row for row in read_rows(run_uri) if "val_ccc_mean" in row]
        except OSError:  # the next poll may succeed; if storage is gone for good, training itself fails
            epochs = []
        for row in epochs[num_reported:]:
            message = f"validation CCC {row['val_ccc_mean']:.3f}, loss {row['train_loss']:.3f}"
            emit(Progress("train", row["epoch"], num_epochs, "epochs", message))
        num_reported = max(num_reported, len(epochs))


if __name__ == "__main__":
    job_process.main("train", run, prepare)
