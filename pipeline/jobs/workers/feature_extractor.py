"""An extraction worker: the crops and the sound of one shard through the backbones, to published bytes."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pipeline.config import FORMAT_VERSION, Config, fingerprint
from pipeline.dataset.build import versions
from pipeline.dataset.format import shards
from pipeline.dataset.format.dataset_info import DatasetError, read_dataset
from pipeline.dataset.format.samples import SampleError
from pipeline.dataset.format.shard_file import ShardFile
from pipeline.jobs.workers.shard_result import ShardResult
from pipeline.records import STAGE_SECONDS, Segment, ShardRecord
from pipeline.records.features import FeatureOrigin
from pipeline.storage.scratch import remove_abandoned, scratch_folder

_ZERO_SECONDS: dict[str, Any] = dict.fromkeys(STAGE_SECONDS, 0.0)  # no stage of preprocessing ran here


@dataclass(frozen=True, slots=True)
class ExtractionPlan:
    """What a dataset of features is made from; the same on every worker."""

    config: Config  # of the new dataset: the parent's settings with the model and its sequences as they were trained
    parent_uri: str
    origin: FeatureOrigin
    run_uri: str  # of the run whose checkpoint has the backbones; "": published weights
    step: int  # of that checkpoint
    toolchain: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """What the bytes depend on, and nothing else: not the names of parent and run, which are for people."""
        origin = replace(self.origin, parent="", run="")
        return fingerprint("features", FORMAT_VERSION, origin, sorted(self.toolchain.items()))

    def digest(self, parent_sha256: str) -> str:
        """What one shard depends on: the shard of the parent, and how it is put through the backbones."""
        return fingerprint(self.fingerprint, parent_sha256)


@dataclass(frozen=True, slots=True)
class ExtractionTask:
    """One shard of the parent."""

    name: str
    sha256: str


def find_toolchain(use_gpu: bool) -> dict[str, str]:
    """Versions of what features depend on besides this program, and what computes them."""
    packages = {name: importlib.metadata.version(name) for name in ("torch", "opencv-python-headless")}
    return {**packages, "device": "gpu" if use_gpu else "cpu"}


class FeatureExtractor:
    """Extracts one shard at a time; on one thread, so that sums come out the same on every machine of a kind.

    Args:
        plan: what the features are made from.
        dataset_uri: where the shards are published.

    Raises:
        RuntimeError: the worker's toolchain is not the driver's.
    """

    task_type: ClassVar[type] = ExtractionTask
    result_type: ClassVar[type] = ShardResult

    def __init__(self, plan: ExtractionPlan, dataset_uri: str) -> None:
        import torch

        from pipeline.training.backbone_features import load_backbones

        self.plan, self.dataset_uri = plan, dataset_uri
        use_gpu = plan.config.extract.use_gpu
        installed = find_toolchain(use_gpu)
        if installed != plan.toolchain:
            raise RuntimeError(
                f"this worker has {installed}, the driver {plan.toolchain}: install the same versions on all nodes"
            )
        remove_abandoned()
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True, warn_only=True)
        self.parent = read_dataset(plan.parent_uri)
        self.model = load_backbones(plan.config, plan.origin, plan.run_uri, plan.step).to("cuda" if use_gpu else "cpu")

    def __call__(self, task: ExtractionTask) -> ShardResult:
        """Extract and publish one shard."""
        try:
            # Ray may call again for a shard whose result it lost.
            finished = shards.finished_shard(self.dataset_uri, task.name, self.plan.digest(task.sha256))
            return ShardResult(finished or self.extract(task))
        except (OSError, DatasetError, SampleError, FloatingPointError) as error:
            return ShardResult(error=f"{task.name}: {error}")

    def extract(self, task: ExtractionTask) -> ShardRecord:
        """Write the features of a shard into a tar in a temporary folder, then publish the tar and its sidecar.

        Raises:
            DatasetError: the parent's shard, or its sidecar, is not what was committed.
            SampleError: a sample of the parent is damaged.
            FloatingPointError: a feature is not finite.
        """
        parent = versions.read_record(self.parent, task.name, task.sha256)
        uri = shards.shard_uri(self.parent.uri, task.name)
        if (sha256 := shards.sha256_of_uri(uri)) != task.sha256:
            raise DatasetError(
                f"{uri} has sha256 {sha256}, dataset.json says {task.sha256}; try iaca verify with --repair"
            )
        with scratch_folder() as folder:
            path = folder / f"{task.name}.tar"
            with ShardFile(path) as tar:
                rows = tar.add_video(self._segments(parent))
            record = replace(
                parent,
                sha256=shards.sha256_of_file(path),
                size_bytes=path.stat().st_size,
                plan_digest=self.plan.digest(task.sha256),
                samples=tuple(rows),
                videos=tuple(replace(video, **_ZERO_SECONDS) for video in parent.videos),
                toolchain=self.plan.toolchain,
                attempts=1,
            )
            return shards.write_shard(path, record, self.dataset_uri)

    def _segments(self, parent: ShardRecord) -> Iterator[Segment]:
        from pipeline.training.backbone_features import extract_features
        from pipeline.training.loader import read_segment

        config = self.plan.config
        for row in parent.samples:
            segment = read_segment(self.parent.uri, row)
            yield extract_features(self.model, segment, config.sequence, config.input_spec)
