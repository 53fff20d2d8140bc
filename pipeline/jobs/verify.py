"""The verification job: every shard of a dataset hashed again, every sample read at its place."""

from __future__ import annotations

from time import perf_counter

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.dataset import shards
from pipeline.dataset.samples import SampleError, decode_slice
from pipeline.dataset.shards import DatasetError, ShardEntry
from pipeline.jobs import entry
from pipeline.progress import JobResult, Progress, emit
from pipeline.records import SampleRow


def run(config: Config) -> JobResult:
    """Verify the dataset at `config.evaluate.dataset` or `config.train.dataset`.

    Raises:
        DatasetError: a shard is missing or damaged, or the index does not lead to its samples; every one is named.
    """
    begin = perf_counter()
    uri = config.evaluate.dataset or config.train.dataset
    if not uri:
        raise UsageError("which dataset is to be verified? give its folder or s3://bucket/prefix with --train.dataset")
    info = shards.read_dataset(uri)
    rows: dict[str, list[SampleRow]] = {}
    for row in shards.read_index(info.uri):
        rows.setdefault(row.shard, []).append(row)
    damaged = []
    for done, shard in enumerate(info.shards, start=1):
        problem = problem_of(info.uri, shard, rows.pop(f"{shard.name}.tar", []))
        damaged += [f"{shard.name}: {problem}"] if problem else []
        emit(Progress("verify", done, len(info.shards), "shards", damaged[-1] if problem else shard.name))
    damaged += [f"{name}: in the index, but not in dataset.json" for name in rows]
    if damaged:
        raise DatasetError(
            f"{len(damaged)} of {len(info.shards)} shards of {info.uri} are damaged:\n  " + "\n  ".join(damaged)
        )
    line = f"{len(info.shards)} shards and {int(info.counts['samples'])} samples of {info.uri} are as they were written"
    return JobResult("verify", info.uri, False, perf_counter() - begin, info.counts, (line,))


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
    entry.main("verify", run)
