"""The verification job: every shard of a dataset hashed again, every sample read at its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.config.uris import uris_read_by, with_uris
from pipeline.dataset.build import versions
from pipeline.dataset.format import shards
from pipeline.dataset.format.samples import SampleError, decode_slice
from pipeline.dataset.format.shards import DatasetError, DatasetInfo, ShardEntry
from pipeline.jobs.workers.pool import ray_session, repair_shards
from pipeline.jobs.workers.shard_builder import find_toolchain
from pipeline.records import SampleRow, ShardPlan, ShardRecord
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult, Progress, emit


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
    info = shards.read_dataset(uri)
    rows_of: dict[str, list[SampleRow]] = {}
    for row in shards.read_index(info.uri):
        rows_of.setdefault(row.shard.removesuffix(".tar"), []).append(row)
    damaged, broken = [], []
    for done, shard in enumerate(info.shards, start=1):
        problem = problem_of(info.uri, shard, rows_of.get(shard.name, []))
        if problem:
            damaged.append(f"{shard.name}: {problem}")
            broken.append(shard)
        emit(Progress("verify", done, len(info.shards), "shards", damaged[-1] if problem else shard.name))
    listed = {shard.name for shard in info.shards}
    strays = [f"{name}: in the index, but not in dataset.json" for name in rows_of if name not in listed]
    if broken and config.verify.repair and not strays:
        _require_videos(info)
        return _repaired(info, broken, rows_of, config, begin)
    if damaged := damaged + strays:
        raise DatasetError(
            f"{len(damaged)} of {len(info.shards)} shards of {info.uri} are damaged:\n  " + "\n  ".join(damaged)
        )
    line = f"{len(info.shards)} shards and {int(info.counts['samples'])} samples of {info.uri} are as they were written"
    return JobResult("verify", info.uri, False, perf_counter() - begin, info.counts, (line,))


def _require_videos(info: DatasetInfo) -> None:
    """Raise UsageError where a shard was not built from videos."""
    if info.features:
        raise UsageError(
            f"{info.uri} holds features, which no video gives: remove its dataset.json and run the same iaca extract "
            f"again, which makes the damaged shards anew and keeps the others"
        )


def _repaired(
    info: DatasetInfo,
    broken: Sequence[ShardEntry],
    rows_of: Mapping[str, list[SampleRow]],
    config: Config,
    begin: float,
) -> JobResult:
    """Build the broken shards from the source as they were built before, and look at them again."""
    config = _as_built(info, config)
    records = [versions.read_record(info, shard.name, shard.sha256) for shard in broken]
    toolchain = find_toolchain()
    other = next((record for record in records if record.toolchain != toolchain), None)
    if other:
        raise DatasetError(
            f"{other.name} was built with {other.toolchain}, here is {toolchain}: the bytes would differ"
        )
    plans = [plan_of(record, info.config, config) for record in records]
    sha256 = {shard.name: shard.sha256 for shard in broken}
    with ray_session():
        problems = [problem for problem in repair_shards(plans, config, info.uri, toolchain, sha256) if problem]
    again = ((shard.name, problem_of(info.uri, shard, rows_of.get(shard.name, []))) for shard in broken)
    problems = problems or [f"{name}: {problem}" for name, problem in again if problem]
    if problems:
        raise DatasetError(f"{len(problems)} shards of {info.uri} could not be repaired:\n  " + "\n  ".join(problems))
    line = f"{len(broken)} shards of {info.uri} were built again, with the bytes they had"
    return JobResult("verify", info.uri, False, perf_counter() - begin, info.counts, (line,))


def _as_built(info: DatasetInfo, config: Config) -> Config:
    """The settings the dataset was built with, and the URIs of this call where they are given."""
    uris = {name: uri for name, uri, _ in uris_read_by(config, ["repair"]) if uri}
    return with_uris(info.config, uris).model_copy(update={"cluster": config.cluster})


def plan_of(record: ShardRecord, built: Config, now: Config) -> ShardPlan:
    """The spans that gave the tar its bytes, with their files where the source lies now."""
    spans = []
    for span, row in zip(record.spans, record.videos, strict=True):
        if row.status == "ok":
            before, after, video = built.source, now.source, span.video
            moved = replace(
                video,
                uri=_moved(video.uri, before.videos, after.videos),
                labels_uri=_moved(video.labels_uri, before.labels, after.labels),
                arousal_uri=_moved(video.arousal_uri, before.labels, after.labels),
                crops_uri=_moved(video.crops_uri, before.crops, after.crops),
            )
            spans.append(replace(span, video=moved))
    return ShardPlan(record.name, record.name.rpartition("-")[0], tuple(spans))


def _moved(uri: str, before: str, now: str) -> str:
    if not uri or not before or not now:
        return uri
    before = storage.normalise(before)
    within = uri == before or uri.startswith(f"{before}/")
    return storage.join(now, uri.removeprefix(before)) if within else uri


def problem_of(dataset_uri: str, shard: ShardEntry, rows: list[SampleRow]) -> str:
    """What is wrong with a shard, in one line; "" when it is as it was written."""
    uri = shards.shard_uri(dataset_uri, shard.name)
    try:
        found = shards.sha256_at(uri)
    except FileNotFoundError:
        return "the tar is missing"
    if found != shard.sha256:
        return f"the tar has sha256 {found}, dataset.json says {shard.sha256}"
    if len(rows) != shard.num_samples:
        return f"the index has {len(rows)} samples, dataset.json says {shard.num_samples}"
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
