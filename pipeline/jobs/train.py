"""The job that trains a run on a dataset with Ray Train: any number of data-parallel workers, resumed when one dies."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.dataset.format import shards
from pipeline.dataset.format.shards import DatasetError, DatasetInfo
from pipeline.jobs.ray_session import start_ray
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult, Progress, emit
from pipeline.training import run_record, sampler
from pipeline.training.run_record import RunRecord

if TYPE_CHECKING:
    from ray.train.v2.api.exceptions import TrainingFailedError

POLL_S = 1.0
PEER_DEATH_S = 3.0  # within which Ray notices that a worker has died
NUM_HASHED_AT_ONCE = 8  # shards; on object storage one stream is slow
RAY_SETTINGS = {"RAY_TRAIN_V2_ENABLED": "1", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}


def run(config: Config) -> JobResult:
    """Train on `config.train.dataset`, from the newest checkpoint where an earlier attempt stopped.

    Raises:
        UsageError: there is no dataset, it has no labels, a split is empty, or it holds features that the model or its
            view was not made for.
        DatasetError: a shard's bytes are not those that were committed.
        RuntimeError: training failed, or lost a worker more often than `train.max_failures`.
    """
    started = time.monotonic()
    if not config.train.dataset:
        raise UsageError("train.dataset is empty; give the URI of a dataset that iaca preprocess made")
    dataset = shards.read_dataset(config.train.dataset)
    config = run_record.on_dataset(config, dataset.config)
    run_record.require_features_fit(config, dataset.features)
    uri = run_record.run_uri(config, dataset.digest)
    if finished := run_record.read_record(uri):
        return _result(uri, finished, time.monotonic() - started, skipped=True)
    rows = shards.read_index(dataset.uri)
    chosen = {split: sampler.labelled(rows, split, dataset.uri) for split in ("train", "val")}
    if not run_record.read_attempts(uri):
        _require_undamaged(dataset, {row.shard for rows_of in chosen.values() for row in rows_of})
    storage.publish_bytes(config.to_json().encode(), storage.join(uri, run_record.CONFIG))
    _train_with_ray(config, dataset.uri, uri)
    done = record_of(config, dataset, uri, {name: len(found) for name, found in chosen.items()})
    run_record.write_record(uri, done)
    return _result(uri, done, time.monotonic() - started, skipped=False)


def _require_undamaged(dataset: DatasetInfo, files: set[str]) -> None:
    """Hash the shards that a new run is going to read: the loader's range reads cannot tell a flipped bit."""
    used = [shard for shard in dataset.shards if f"{shard.name}.tar" in files]
    with ThreadPoolExecutor(NUM_HASHED_AT_ONCE) as threads:
        found = threads.map(lambda shard: shards.sha256_at(shards.shard_uri(dataset.uri, shard.name)), used)
        for done, (shard, digest) in enumerate(zip(used, found, strict=True), start=1):
            emit(Progress("check", done, len(used), "shards", shard.name))
            if digest != shard.sha256:
                raise DatasetError(
                    f"{shards.shard_uri(dataset.uri, shard.name)} has sha256 {digest}, dataset.json says "
                    f"{shard.sha256}; iaca verify {dataset.uri} says what else is damaged"
                )


def _train_with_ray(config: Config, dataset_uri: str, uri: str) -> None:
    os.environ.update(RAY_SETTINGS)
    start_ray(num_cpus=max(os.cpu_count() or 1, config.train.num_workers))
    import ray

    try:
        with _epochs_followed(uri, config.train.epochs):
            _fit_until_done(config, dataset_uri, uri)
    finally:
        ray.shutdown()


def _fit_until_done(config: Config, dataset_uri: str, uri: str) -> None:
    """Trainer again after a worker died, up to `train.max_failures` times; what a worker raised would come again."""
    from ray.train.v2.api.exceptions import TrainingFailedError

    for num_left in reversed(range(config.train.max_failures + 1)):
        try:
            _fit(config, dataset_uri, uri)
        except TrainingFailedError as error:
            if not (num_left and _is_death(error)):
                raise _explained(error) from error
            print(f"{_why(error)}; going on from the newest checkpoint", flush=True)
        else:
            return


def _fit(config: Config, dataset_uri: str, uri: str) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    filesystem, path = storage.arrow_filesystem(uri)
    TorchTrainer(
        train_worker,
        train_loop_config={"config": config.to_json(), "dataset_uri": dataset_uri, "run_uri": uri},
        scaling_config=ScalingConfig(num_workers=config.train.num_workers, use_gpu=config.train.use_gpu),
        run_config=RunConfig(name="ray", storage_path=path, storage_filesystem=filesystem),
    ).fit()


def train_worker(settings: dict[str, str]) -> None:
    """What each worker of the group does; Ray Train calls it."""
    import ray.train
    import ray.train.torch
    import torch

    from pipeline.training.ranks import Ranks
    from pipeline.training.trainer import Trainer, TrainPlan

    context = ray.train.get_context()
    config = Config.model_validate_json(settings["config"])
    # The same number of threads gives the same sums.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True, warn_only=True)
    rows = shards.read_index(settings["dataset_uri"])
    chosen = [sampler.labelled(rows, split, settings["dataset_uri"]) for split in ("train", "val")]
    ranks = Ranks(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    attempt = run_record.count_attempt(settings["run_uri"]) if ranks.rank == 0 else 0
    features = shards.read_dataset(settings["dataset_uri"]).features
    plan = TrainPlan(config, settings["dataset_uri"], settings["run_uri"], chosen[0], chosen[1], features)
    try:
        Trainer(plan, ranks, wrap=ray.train.torch.prepare_model).run(attempt, after_epoch=ray.train.report)
    except RuntimeError:
        if ranks.world_size > 1:  # perhaps the complaint of one whose peer died: let Ray see that first
            time.sleep(PEER_DEATH_S)
        raise


def record_of(config: Config, dataset: DatasetInfo, uri: str, segments: dict[str, int]) -> RunRecord:
    """What `run.json` says of the run at `uri`, whose last epoch is done; `segments` are counted by split."""
    from pipeline.training import checkpoint

    newest, _ = checkpoint.load_newest(uri)
    assert newest is not None, f"{uri} has no checkpoint after training"
    progress = newest.progress
    assert progress.best_ccc is not None
    counts = {
        **{f"{split}_segments": count for split, count in segments.items()},
        "parameters": sum(tensor.numel() for tensor in newest.model.values()),
        "unreadable_samples": progress.num_bad,
        "workers": config.train.num_workers,
    }
    weights = checkpoint.weights_sha256(uri, progress.best_step)
    done = (progress.best_step, progress.best_ccc, weights, progress.step, progress.epoch)
    attempts = run_record.read_attempts(uri)
    return RunRecord(config.name, dataset.uri, dataset.digest, *done, attempts, counts, dataset.features)


def _result(uri: str, done: RunRecord, seconds: float, *, skipped: bool) -> JobResult:
    counts = {"val_ccc_mean": done.best_ccc, "epochs": done.num_epochs, "steps": done.num_steps}
    lines = [f"validation CCC {done.best_ccc:.3f} at step {done.best_step}, after {done.num_epochs} epochs"]
    if bad := done.counts.get("unreadable_samples"):
        lines.append(f"{bad} reads of samples failed; the workers' log names them")
    if done.attempts > 1:
        lines.append(f"it was started {done.attempts} times, each time from the newest checkpoint")
    return JobResult("train", uri, skipped, seconds, {**counts, "attempts": done.attempts}, tuple(lines))


def _is_death(error: TrainingFailedError) -> bool:
    """Whether a worker was lost: then Ray has words for it, while what a worker raised arrives as it was."""
    from ray.exceptions import RayError
    from ray.train.v2.api.exceptions import RayTrainError

    return any(isinstance(failure, RayError | RayTrainError) for failure in _failures(error).values())


def _explained(error: TrainingFailedError) -> Exception:
    usage = any(isinstance(failure, UsageError) for failure in _failures(error).values())
    return (UsageError if usage else RuntimeError)(_why(error))


def _why(error: TrainingFailedError) -> str:
    """The first worker's own words: Ray's message is its whole traceback."""
    failures = _failures(error)
    rank, first = min(failures.items())
    return f"training failed on worker {rank}: {job_process.message_of(first)}"


def _failures(error: TrainingFailedError) -> dict[int, Exception]:
    return getattr(error, "worker_failures", None) or {0: getattr(error, "controller_failure", error)}


@contextmanager
def _epochs_followed(uri: str, num_epochs: int) -> Iterator[None]:
    """Report each epoch while the body runs: the workers' own output does not reach this process."""
    over = threading.Event()
    thread = threading.Thread(target=_follow, args=(uri, num_epochs, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _follow(uri: str, num_epochs: int, over: threading.Event) -> None:
    from pipeline.training.history import read_rows

    told = 0
    while True:
        last_look = over.wait(POLL_S)
        try:
            epochs = [row for row in read_rows(uri) if "val_ccc_mean" in row]
        except OSError:  # the next look may come through; training itself says so when its storage is gone
            epochs = []
        for row in epochs[told:]:
            note = f"validation CCC {row['val_ccc_mean']:.3f}, loss {row['train_loss']:.3f}"
            emit(Progress("train", row["epoch"], num_epochs, "epochs", note))
        told = max(told, len(epochs))
        if last_look:
            return


if __name__ == "__main__":
    job_process.main("train", run)
