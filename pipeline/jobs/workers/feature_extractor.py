"""An extraction worker: the crops and the sound of one shard through the backbones, to published bytes."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pipeline.config import FORMAT_VERSION, Config, fingerprint
from pipeline.dataset.build import versions
from pipeline.dataset.format import shards
from pipeline.dataset.format.samples import SampleError
from pipeline.dataset.format.shard_file import ShardFile
from pipeline.dataset.format.shards import DatasetError
from pipeline.records import STAGE_SECONDS, Segment, ShardRecord
from pipeline.records.features import FeatureOrigin
from pipeline.storage.scratch import remove_abandoned, scratch_folder
from pipeline.training.loader import read_segment

UNMEASURED: dict[str, Any] = dict.fromkeys(STAGE_SECONDS, 0.0)  # nothing was decoded or looked at here


@dataclass(frozen=True, slots=True)
class Task:
    """What a dataset of features is made of; the same on every worker."""

    config: Config  # with the model, its view and its weights as they were trained, and the dataset's own settings
    parent_uri: str
    origin: FeatureOrigin
    run_uri: str  # whose checkpoint has the backbones; "": published weights
    step: int  # of that checkpoint
    toolchain: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """What the bytes depend on, and nothing else; names are for people."""
        origin = replace(self.origin, parent="", run="")
        return fingerprint("features", FORMAT_VERSION, origin, sorted(self.toolchain.items()))

    def digest(self, parent_sha256: str) -> str:
        """What one shard depends on: the shard of the parent, and how it is put through the backbones."""
        return fingerprint(self.fingerprint, parent_sha256)


def find_toolchain(use_gpu: bool) -> dict[str, str]:
    """Versions of what features depend on besides this program, and what computes them."""
    versions_of = {name: importlib.metadata.version(name) for name in ("torch", "opencv-python-headless")}
    return {**versions_of, "device": "gpu" if use_gpu else "cpu"}


class Extractor:
    """Extracts one shard at a time; one thread, so that sums come out the same on every machine of a kind."""

    def __init__(self, task: Task, dataset_uri: str) -> None:
        import torch

        from pipeline.training.feature_extraction import backbones_of

        self.task, self.dataset_uri = task, dataset_uri
        use_gpu = task.config.extract.use_gpu
        if (own := find_toolchain(use_gpu)) != task.toolchain:
            raise RuntimeError(
                f"this worker has {own}, the driver {task.toolchain}: install the same versions on all nodes"
            )
        remove_abandoned()
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True, warn_only=True)
        self.parent = shards.read_dataset(task.parent_uri)
        self.model = backbones_of(task.config, task.origin, task.run_uri, task.step).to("cuda" if use_gpu else "cpu")

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """Extract and publish the shard with the name and the sha256 that `row` gives.

        What stops it is an answer too: raised, it would reach the driver wrapped in advice about Ray.
        """
        name, sha256 = row["name"], row["sha256"]
        try:
            found = shards.finished_shard(self.dataset_uri, name, self.task.digest(sha256))
            record = found or self.extract(name, sha256)
        except (OSError, DatasetError, SampleError, FloatingPointError) as error:
            return {"record": "", "error": f"{name}: {error}"}
        return {"record": shards.record_to_json(record), "error": ""}

    def extract(self, name: str, sha256: str) -> ShardRecord:
        """Every sample of the parent's shard into a tar in a temporary directory, then it and its sidecar to storage.

        Raises:
            DatasetError: the parent's shard, or its sidecar, is not what was committed.
        """
        parent = versions.read_record(self.parent, name, sha256)
        uri = shards.shard_uri(self.parent.uri, name)
        if (found := shards.sha256_at(uri)) != sha256:
            raise DatasetError(f"{uri} has sha256 {found}, dataset.json says {sha256}; try iaca verify with --repair")
        with scratch_folder() as directory:
            path = directory / f"{name}.tar"
            with ShardFile(path) as tar:
                rows = tar.add_video(self._segments(parent))
            record = replace(
                parent,
                sha256=shards.sha256_of(path),
                size_bytes=path.stat().st_size,
                plan_digest=self.task.digest(sha256),
                samples=tuple(rows),
                videos=tuple(replace(video, **UNMEASURED) for video in parent.videos),
                toolchain=self.task.toolchain,
                attempts=1,
            )
            return shards.write_shard(path, record, self.dataset_uri)

    def _segments(self, parent: ShardRecord) -> Iterator[Segment]:
        from pipeline.training.feature_extraction import extract

        config = self.task.config
        for row in parent.samples:
            segment = read_segment(self.parent.uri, row)
            yield extract(self.model, segment, config.sequence, config.input_spec)
