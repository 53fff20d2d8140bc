"""The verification job: every shard of a dataset hashed again, every sample read where the index says it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.config.uris import uris_read_by, with_uris
from pipeline.dataset.build import versions
from pipeline.dataset.format import shards
from pipeline.dataset.format.dataset_info import DatasetError, DatasetInfo, ShardEntry, read_dataset, read_index
from pipeline.dataset.format.samples import SampleError, decode_slice
from pipeline.jobs.build_dataset import build_actor_options
from pipeline.jobs.workers.pool import WorkerPool
from pipeline.jobs.workers.shard_builder import find_toolchain, load_detector
from pipeline.jobs.workers.shard_repairer import RepairTask, ShardRepairer
from pipeline.records import SampleRow, ShardPlan, ShardRecord
from pipeline.records.quantities import count_text
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult, Progress, emit


@dataclass(frozen=True, slots=True)
class _Damage:
    """A shard that is not as it was written, and why."""

    shard: ShardEntry
    problem: str


def run(config: Config) -> JobResult:
    """Verify the dataset at `config.verify.dataset`.

    Raises:
        DatasetError: a shard is missing or damaged, or the index does not lead to its samples; every one is named.
            With `verify.repair` only those that did not come out with the bytes they had; nothing is repaired where the
            index lists shards that `dataset.json` does not.
    """
    begin = perf_counter()
    uri = config.verify.dataset
    if not uri:
        raise UsageError("which dataset is to be verified? give its folder or s3://bucket/prefix with --dataset")
    info = read_dataset(uri)
    index = _index_by_shard(info)
    damages = []
    for num_done, shard in enumerate(info.shards, start=1):
        problem = problem_of(info.uri, shard, index.get(shard.name, []))
        if problem:
            damages.append(_Damage(shard, problem))
        message = f"{shard.name}: {problem}" if problem else shard.name
        emit(Progress("verify", num_done, len(info.shards), "shards", message))
    listed = {shard.name for shard in info.shards}
    unlisted = [f"{name}: in the index, but not in dataset.json" for name in index if name not in listed]
    if damages and config.verify.repair and not unlisted:
        _repair(info, [damage.shard for damage in damages], index, config)
        line = f"{count_text(len(damages), 'shard')} of {info.uri} built again, with the same bytes as before"
        return JobResult("verify", info.uri, False, perf_counter() - begin, info.counts, (line,))
    if damages or unlisted:
        problems = [*(f"{damage.shard.name}: {damage.problem}" for damage in damages), *unlisted]
        num = f"{len(problems)} of {count_text(len(info.shards), 'shard')}"
        raise DatasetError(f"{num} of {info.uri} are damaged:\n  " + "\n  ".join(problems))
    counts = f"{count_text(len(info.shards), 'shard')} and {count_text(int(info.counts['samples']), 'sample')}"
    line = f"{counts} of {info.uri} are as they were written"
    return JobResult("verify", info.uri, False, perf_counter() - begin, info.counts, (line,))


def _index_by_shard(info: DatasetInfo) -> dict[str, list[SampleRow]]:
    index: dict[str, list[SampleRow]] = {}
    for row in read_index(info.uri):
        index.setdefault(row.shard.removesuffix(".tar"), []).append(row)
    return index


def _repair(
    info: DatasetInfo, damaged: Sequence[ShardEntry], index: Mapping[str, list[SampleRow]], config: Config
) -> None:
    """Build the damaged shards from the source as they were built before, and verify them again.

    Raises:
        DatasetError: some could not be repaired, or the toolchain is another one.
        UsageError: the shards were not built from videos, or ffmpeg cannot be used as given.
    """
    _require_videos(info)
    config = _as_built(info, config)
    records = [versions.read_record(info, shard.name, shard.sha256) for shard in damaged]
    toolchain = find_toolchain(config)
    foreign = next((record for record in records if record.toolchain != toolchain), None)
    if foreign:
        raise DatasetError(
            f"{foreign.name} was built with {foreign.toolchain}, here is {toolchain}: the bytes would differ; "
            f"media.ffmpeg chooses another ffmpeg"
        )
    load_detector(config)  # wrong weights are better refused once here than by every worker
    plans = [plan_of(record, info.config, config) for record in records]
    tasks = [RepairTask(plan, record.sha256) for plan, record in zip(plans, records, strict=True)]
    with WorkerPool(config) as pool:
        results = pool.map(ShardRepairer, (config, info.uri, toolchain), tasks, build_actor_options(plans, config))
        problems = [result.problem for result in results if result.problem]
    if not problems:
        checks = ((shard.name, problem_of(info.uri, shard, index.get(shard.name, []))) for shard in damaged)
        problems = [f"{name}: {problem}" for name, problem in checks if problem]
    if problems:
        num = count_text(len(problems), "shard")
        raise DatasetError(f"{num} of {info.uri} could not be repaired:\n  " + "\n  ".join(problems))


def _require_videos(info: DatasetInfo) -> None:
    """Raise UsageError where a shard was not built from videos."""
    if info.features:
        raise UsageError(
            f"{info.uri} holds features, which cannot be built from videos: remove its dataset.json and run the same "
            f"iaca extract again, which makes the damaged shards anew and keeps the others"
        )


def _as_built(info: DatasetInfo, config: Config) -> Config:
    """The settings that the dataset was built with; the URIs where they are given, ffmpeg and cluster of this call."""
    uris = {name: uri for name, uri, _ in uris_read_by(config, ["repair"]) if uri}
    media = replace(info.config.media, ffmpeg=config.media.ffmpeg)
    return with_uris(info.config, uris).model_copy(update={"cluster": config.cluster, "media": media})


def plan_of(record: ShardRecord, built: Config, now: Config) -> ShardPlan:
    """The plan of a shard as it was built, with its files where the source lies now; rejected spans are left out."""
    spans = []
    for span, row in zip(record.spans, record.videos, strict=True):
        if row.status == "ok":
            old, new, video = built.source, now.source, span.video
            moved = replace(
                video,
                uri=_moved(video.uri, old.videos, new.videos),
                labels_uri=_moved(video.labels_uri, old.labels, new.labels),
                arousal_uri=_moved(video.arousal_uri, old.labels, new.labels),
                crops_uri=_moved(video.crops_uri, old.crops, new.crops),
            )
            spans.append(replace(span, video=moved))
    return ShardPlan(record.name, record.name.rpartition("-")[0], tuple(spans))


def _moved(uri: str, old_root: str, new_root: str) -> str:
    """The URI below the new root of a file that was below the old one; others stay."""
    if not uri or not old_root or not new_root:
        return uri
    old_root = storage.normalise(old_root)
    is_below = uri == old_root or uri.startswith(f"{old_root}/")
    return storage.join(new_root, uri.removeprefix(old_root)) if is_below else uri


def problem_of(dataset_uri: str, shard: ShardEntry, rows: list[SampleRow]) -> str:
    """Verify one shard: what is wrong with it, in one line; "" when it is as it was written."""
    uri = shards.shard_uri(dataset_uri, shard.name)
    try:
        sha256 = shards.sha256_of_uri(uri)
    except FileNotFoundError:
        return "the tar is missing"
    if sha256 != shard.sha256:
        return f"the tar has sha256 {sha256}, dataset.json says {shard.sha256}"
    if len(rows) != shard.num_samples:
        return f"the index has {count_text(len(rows), 'sample')}, dataset.json says {shard.num_samples}"
    for row in rows:
        try:
            key = decode_slice(storage.read_bytes(uri, row.offset, row.size)).key
        except SampleError as error:
            return f"sample {row.key} at byte {row.offset}: {error}"
        if key != row.key:
            return f"sample {key} lies at byte {row.offset}, where the index says {row.key}"
    return ""


if __name__ == "__main__":
    job_process.main("verify", run)
