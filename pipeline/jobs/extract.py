"""The extraction job: a dataset's crops and sound through frozen backbones, to a dataset of their features."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from time import perf_counter

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.format.dataset_info import DatasetInfo, read_dataset, read_index
from pipeline.jobs.build_missing import ShardTasks, build_missing, committed_at, require_space
from pipeline.jobs.resources import Demand, require_resources
from pipeline.jobs.workers.feature_extractor import ExtractionPlan, ExtractionTask, FeatureExtractor, find_toolchain
from pipeline.jobs.workers.pool import ActorOptions, WorkerPool
from pipeline.records import FRAME_DTYPE, ShardRecord
from pipeline.records.features import FeatureOrigin
from pipeline.records.quantities import count_text
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult
from pipeline.training import run_record
from pipeline.training.compatibility import config_for_dataset, run_config_for_dataset
from pipeline.training.run_record import RunRecord

NUM_RETRIES = 3  # of a shard whose worker died
GPU_DEMAND = Demand("extract", 1, use_gpu=True)  # more GPUs only make it faster
IDLE_TIMEOUT_S = 12 * 3600.0  # on a core, the papers' backbones need hours for a shard


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """An extraction that is not finished."""

    parent: DatasetInfo
    plan: ExtractionPlan
    uri: str  # of the dataset of features


def prepare(config: Config) -> JobResult | _Unfinished:
    """Check that the features can be computed; the result where they are complete.

    This loads neither Ray nor torch, unless `extract.use_gpu` is set and features are missing: then torch is loaded to
    find a GPU, or in a cluster this process attaches to its Ray.

    Raises:
        UsageError: there is no dataset or it holds features already, the run does not fit it, without a run the
            configuration does not say which published weights are meant, there is no GPU as asked, or there is too
            little space.
    """
    begin = perf_counter()
    if not config.extract.dataset:
        raise UsageError("extract.dataset is empty; give the URI of a dataset that iaca preprocess made")
    parent = read_dataset(config.extract.dataset)
    plan = plan_extraction(config, parent)
    uri = storage.join(config.storage.root, "datasets", f"{config.name}-{plan.fingerprint}")
    if committed := committed_at(uri):
        line = f"{uri} is complete: {count_text(len(committed.shards), 'shard')}, nothing to do"
        return _result(committed, perf_counter() - begin, line)
    if config.extract.use_gpu:
        require_resources(GPU_DEMAND)
    require_space(uri, _expected_bytes(parent, plan))
    return _Unfinished(parent, plan, uri)


def run(config: Config) -> JobResult:
    """Put `config.extract.dataset` through the backbones of `config.extract.run`, or through published ones.

    Raises:
        UsageError: see `prepare`.
        RuntimeError: a shard cannot be read, or lost its worker too often.
    """
    begin = perf_counter()
    prepared = prepare(config)
    if isinstance(prepared, JobResult):
        return prepared
    plan = prepared.plan
    with WorkerPool(config) as pool:
        records = extract_shards(prepared.parent, plan, prepared.uri, pool)
    info = commit_dataset(prepared.uri, plan.config, records, plan.toolchain, features=plan.origin)
    return _result(info, perf_counter() - begin)


def _expected_bytes(parent: DatasetInfo, plan: ExtractionPlan) -> float:
    num_frames = sum(row.num_preroll + row.num_frames for row in read_index(parent.uri))
    float16_bytes = 2
    width = plan.origin.video_dim + plan.origin.audio_dim
    return num_frames * (float16_bytes * width + FRAME_DTYPE.itemsize)


def plan_extraction(config: Config, parent: DatasetInfo) -> ExtractionPlan:
    """Decide which backbones are used, and check all that can be checked without reading samples.

    Raises:
        UsageError: the dataset holds features already, or the run or the published weights do not fit it.
    """
    if parent.features:
        raise UsageError(f"{parent.uri} holds features already; extract those of its parent {parent.features.parent}")
    run_uri = config.extract.run
    if not run_uri:
        from pipeline.training.backbone_features import require_published_weights

        require_published_weights(config)
        return _plan(config, config_for_dataset(config, parent.config), parent, None)
    record = run_record.require_record(run_uri)
    if record.features:
        raise UsageError(f"{run_uri} was trained on features and has no backbones; give the run that they came from")
    trained = run_config_for_dataset(run_record.read_config(run_uri), None, parent)
    return _plan(config, trained, parent, record)


def _plan(config: Config, trained: Config, parent: DatasetInfo, record: RunRecord | None) -> ExtractionPlan:
    """The plan for the backbones of a run that is finished, or without a run for published ones.

    Args:
        config: of this command.
        trained: the configuration whose model and sequences are used.
        parent: the dataset of crops and sound.
        record: of the run.
    """
    model, sequence, weights = trained.model, trained.sequence, config.weights
    origin = FeatureOrigin(
        parent=parent.name,
        parent_digest=parent.digest,
        run=run_record.folder_name(config.extract.run) if record else "",
        run_weights_sha256=record.weights_sha256 if record else "",
        video_weights_sha256="" if record or model.modalities == "audio" else weights.video_sha256,
        audio_weights_sha256="" if record or model.modalities == "video" else weights.audio_sha256,
        backbone=model.backbone,
        modalities=model.modalities,
        subclip_frames=sequence.subclip_frames,
        subclip_dilation=sequence.subclip_dilation,
        video_dim=model.feature_dim,
        audio_dim=model.feature_dim,
    )
    changes = {
        "name": config.name,
        "storage": config.storage,
        "sequence": sequence,
        "model": model,
        "weights": weights,
        "extract": config.extract,
    }
    return ExtractionPlan(
        config=parent.config.model_copy(update=changes),
        parent_uri=parent.uri,
        origin=origin,
        run_uri=config.extract.run,
        step=record.best_step if record else 0,
        toolchain=find_toolchain(config.extract.use_gpu),
    )


def extract_shards(parent: DatasetInfo, plan: ExtractionPlan, uri: str, pool: WorkerPool) -> list[ShardRecord]:
    """Extract the shards that an earlier, interrupted extraction has not published; the records of all shards."""
    shard_tasks = ShardTasks(
        worker=FeatureExtractor,
        init_args=(plan, uri),
        actor_options=ActorOptions(NUM_RETRIES, IDLE_TIMEOUT_S, GPU_DEMAND if plan.config.extract.use_gpu else None),
        tasks={shard.name: ExtractionTask(shard.name, shard.sha256) for shard in parent.shards},
        digests={shard.name: plan.digest(shard.sha256) for shard in parent.shards},
        check=functools.partial(_load_backbones, plan),
    )
    return build_missing(shard_tasks, uri, pool)


def _load_backbones(plan: ExtractionPlan) -> None:
    from pipeline.training.backbone_features import load_backbones

    load_backbones(plan.config, plan.origin, plan.run_uri, plan.step)


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
    job_process.main("extract", run, prepare)
