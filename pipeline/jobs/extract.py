"""The extraction job: a dataset's crops and sound through frozen backbones, kept as a dataset of their features."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.dataset.format import shards
from pipeline.dataset.format.shards import DatasetInfo
from pipeline.jobs.build_missing import committed_at, completed, require_space
from pipeline.jobs.workers.feature_extractor import Extractor, Task, find_toolchain
from pipeline.jobs.workers.pool import Limits, answers, ray_session, records_of
from pipeline.records import FRAME_DTYPE, ShardRecord
from pipeline.records.features import FeatureOrigin
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult
from pipeline.training import run_record
from pipeline.training.run_record import RunRecord

NUM_RETRIES = 3  # of a shard whose worker died
IDLE_TIMEOUT_S = 12 * 3600.0  # on a core, the papers' backbones need hours for a shard


def run(config: Config) -> JobResult:
    """Put `config.extract.dataset` through the backbones of `config.extract.run`, or through published ones.

    Raises:
        UsageError: there is no dataset or it holds features already, the run does not fit it, or without a run the
            configuration does not say which published weights are meant.
        RuntimeError: a shard cannot be read, or lost its worker too often.
    """
    begin = perf_counter()
    if not config.extract.dataset:
        raise UsageError("extract.dataset is empty; give the URI of a dataset that iaca preprocess made")
    parent = shards.read_dataset(config.extract.dataset)
    task = task_of(config, parent)
    uri = storage.join(config.storage.root, "datasets", f"{config.name}-{task.fingerprint}")
    if committed := committed_at(uri):
        line = f"{uri} is complete: {len(committed.shards)} shards, nothing to do"
        return _result(committed, perf_counter() - begin, line)
    widths = task.origin.video_dim + task.origin.audio_dim
    num_frames = sum(row.num_preroll + row.num_frames for row in shards.read_index(parent.uri))
    require_space(uri, num_frames * (2 * widths + FRAME_DTYPE.itemsize))
    with ray_session():
        records = extract_shards(parent, task, uri, config)
    info = shards.finish_dataset(uri, task.config, records, task.toolchain, features=task.origin)
    return _result(info, perf_counter() - begin)


def task_of(config: Config, parent: DatasetInfo) -> Task:
    """What is to be done with which backbones, checked as far as it can be without a look at the samples."""
    if parent.features:
        raise UsageError(f"{parent.uri} holds features already; extract those of its parent {parent.features.parent}")
    if config.extract.run:
        return _with_run(config, parent, config.extract.run)
    from pipeline.training.feature_extraction import require_weights

    require_weights(config)
    return _task(config, run_record.on_dataset(config, parent.config), parent)


def _with_run(config: Config, parent: DatasetInfo, run_uri: str) -> Task:
    done = run_record.read_finished(run_uri)
    if done.features:
        raise UsageError(f"{run_uri} was trained on features and has no backbones; give the run that they came from")
    return _task(config, run_record.fitted_to(run_record.read_config(run_uri), parent, None), parent, run_uri, done)


def _task(config: Config, made: Config, parent: DatasetInfo, run_uri: str = "", done: RunRecord | None = None) -> Task:
    """The task for the model of `made`, with the weights of a run that is done, or else those that `config` names."""
    model, view, weights = made.model, made.sequence, config.weights
    origin = FeatureOrigin(
        parent=parent.name,
        parent_digest=parent.digest,
        run=run_record.folder_name(run_uri) if done else "",
        run_weights_sha256=done.weights_sha256 if done else "",
        video_weights_sha256="" if done or model.modalities == "audio" else weights.video_sha256,
        audio_weights_sha256="" if done or model.modalities == "video" else weights.audio_sha256,
        backbone=model.backbone,
        modalities=model.modalities,
        subclip_frames=view.subclip_frames,
        subclip_dilation=view.subclip_dilation,
        video_dim=model.feature_dim,
        audio_dim=model.feature_dim,
    )
    changes = {
        "name": config.name,
        "storage": config.storage,
        "sequence": view,
        "model": model,
        "weights": weights,
        "extract": config.extract,
    }
    step = done.best_step if done else 0
    return Task(
        parent.config.model_copy(update=changes),
        parent.uri,
        origin,
        run_uri,
        step,
        find_toolchain(config.extract.use_gpu),
    )


def extract_shards(parent: DatasetInfo, task: Task, uri: str, config: Config) -> list[ShardRecord]:
    """The records of all shards: those of an earlier, interrupted extraction and those extracted now."""
    sha256 = {shard.name: shard.sha256 for shard in parent.shards}

    def ask(names: list[str]) -> Iterator[dict[str, str]]:
        items = [{"name": name, "sha256": sha256[name]} for name in names]
        limits = Limits(NUM_RETRIES, IDLE_TIMEOUT_S, config.extract.use_gpu)
        return answers(Extractor, (task, uri), items, config, limits)

    def make(names: list[str]) -> Iterator[ShardRecord]:
        if names:
            _check_weights(task)
        yield from records_of(names, ask)

    digests = {name: task.digest(parent_sha256) for name, parent_sha256 in sha256.items()}
    return completed(digests, uri, make, _note)


def _note(done: ShardRecord) -> str:
    return f"{done.name}: {len(done.samples)} samples, {done.size_bytes / 1e6:.1f} MB"


def _check_weights(task: Task) -> None:
    """Load the backbones here: wrong weights are better refused once than by every worker."""
    from pipeline.training.feature_extraction import backbones_of

    backbones_of(task.config, task.origin, task.run_uri, task.step)


def _result(info: DatasetInfo, seconds: float, *lines: str) -> JobResult:
    origin = info.features
    assert origin is not None
    needed = {
        "model.feature_dim": origin.video_dim,
        "sequence.subclip_frames": origin.subclip_frames,
        "sequence.subclip_dilation": origin.subclip_dilation,
    }
    advice = f"iaca train takes it with {' '.join(f'--{name} {value}' for name, value in needed.items())}"
    return JobResult("extract", info.uri, bool(lines), seconds, info.counts, (*lines, advice))


if __name__ == "__main__":
    job_process.main("extract", run)
