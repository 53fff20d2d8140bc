"""A preprocessing worker: the shard of a plan, span by span, from the raw videos to published bytes."""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import ClassVar

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.config.detector import how_to_fetch_again
from pipeline.dataset.build import attempts
from pipeline.dataset.build.span_build import SpanBuild, Tools
from pipeline.dataset.format import shards
from pipeline.dataset.format.shard_file import ShardFile
from pipeline.dataset.plan.media_options import require_ffmpeg
from pipeline.dataset.plan.shard_plan import plan_digest
from pipeline.jobs.workers.shard_result import ShardResult
from pipeline.media.faces.detect import Detector, make_detector
from pipeline.media.ffmpeg_command import ffmpeg_version
from pipeline.records import STAGE_SECONDS, Rejection, ShardPlan, ShardRecord, Span, VideoRow
from pipeline.runtime.error_messages import message_of
from pipeline.storage import StorageError
from pipeline.storage.scratch import remove_abandoned, scratch_folder

MACHINE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def find_toolchain(config: Config) -> dict[str, str]:
    """Versions of what the bytes of a dataset depend on besides this program.

    Raises:
        UsageError: the ffmpeg that `media.ffmpeg` chooses cannot be used.
    """
    opencv = importlib.metadata.version("opencv-python-headless")
    return {"ffmpeg": ffmpeg_version(require_ffmpeg(config)), "opencv": opencv}


class ShardBuilder:
    """Builds one shard at a time, each from its plan alone.

    Args:
        config: the experiment.
        dataset_uri: where the shards are published.
        toolchain: of the driver, which the worker's own must equal.
        run: of the driver, so that the marks of this run can be told from those of another.

    Raises:
        RuntimeError: the worker's toolchain is not the driver's.
        UsageError: this machine has no ffmpeg that can be used.
    """

    task_type: ClassVar[type] = ShardPlan
    result_type: ClassVar[type] = ShardResult

    def __init__(self, config: Config, dataset_uri: str, toolchain: dict[str, str], run: str = "") -> None:
        self.config, self.dataset_uri, self.toolchain, self.run = config, dataset_uri, toolchain, run
        installed = find_toolchain(config)
        if installed != toolchain:
            raise RuntimeError(
                f"this worker has {installed}, the driver {toolchain}: install the same versions on all nodes"
            )
        remove_abandoned()
        importlib.import_module("webdataset")  # and torch with it: now, not as the first video's peak of memory
        self.tools = Tools(require_ffmpeg(config), load_detector(config))

    def __call__(self, plan: ShardPlan) -> ShardResult:
        """Build and publish the shard of a plan."""
        try:
            # Ray may call again for a shard whose result it lost.
            finished = shards.finished_shard(self.dataset_uri, plan.name, plan_digest(plan))
            return ShardResult(finished or self.build(plan))
        except OSError as error:
            return ShardResult(error=f"{plan.name}: {error}")

    def build(self, plan: ShardPlan) -> ShardRecord:
        """Write every span of the plan into a tar in a temporary folder, then publish the tar and its sidecar."""
        attempt = attempts.begin(self.dataset_uri, plan.name, self.run)
        with scratch_folder() as folder:
            path = folder / f"{plan.name}.tar"
            with ShardFile(path) as tar:
                videos = self._build_spans(plan, tar, folder, attempt)
            attempt.mark(None)
            record = ShardRecord(
                name=plan.name,
                sha256=shards.sha256_of_file(path),
                size_bytes=path.stat().st_size,
                plan_digest=plan_digest(plan),
                samples=tuple(tar.rows),
                videos=videos,
                toolchain=self.toolchain,
                attempts=attempt.number,
                label_grid=tuple(tar.label_grid.ravel().tolist()),
                spans=plan.spans,
            )
            return shards.write_shard(path, record, self.dataset_uri)

    def _build_spans(
        self, plan: ShardPlan, tar: ShardFile, folder: Path, attempt: attempts.Attempt
    ) -> tuple[VideoRow, ...]:
        """A row per span; one that has killed `MAX_CRASHES` workers is rejected without another attempt."""
        crashes, rows = attempt.crashes(), []
        for span in plan.spans:
            num_crashes = crashes[attempts.span_name(span)]
            if num_crashes < attempts.MAX_CRASHES:
                attempt.mark(span)
                rows.append(replace(self.build_span(span, tar, folder), attempts=num_crashes + 1))
            else:
                detail = f"{num_crashes} workers died while they worked on it; --retry-rejected tries again"
                build = SpanBuild(span, self.config, self.tools, folder)
                rows.append(replace(build.rejected("worker", "worker_crash", detail), attempts=num_crashes))
        return tuple(rows)

    def build_span(self, span: Span, tar: ShardFile, folder: Path) -> VideoRow:
        """Write one span into the tar; whatever is wrong with its video becomes its row, and its neighbours go on.

        Raises:
            OSError: the storage or this machine failed, which is no fault of the video.
        """
        _use_batch_scheduling()
        with tempfile.TemporaryDirectory(prefix="video-", dir=folder) as span_folder:
            build = SpanBuild(span, self.config, self.tools, Path(span_folder))
            begin = perf_counter()
            try:
                samples = tar.add_video(build.segments())
            except Rejection as rejection:
                self._publish_sheet(build.contact_sheet, span)
                return build.rejected(rejection.stage, rejection.reason, rejection.detail)
            except StorageError:
                raise
            except Exception as error:  # the one place: a bug that one video shows must not cost its whole shard
                if isinstance(error, OSError) and error.errno in MACHINE_ERRNOS:
                    raise
                return build.rejected(build.current_stage, "error", message_of(error))
            other_stages_s = sum(getattr(build.row, name) for name in STAGE_SECONDS)
            write_s = max(0.0, perf_counter() - begin - other_stages_s)
            publish_s = self._publish_sheet(build.contact_sheet, span)
            return replace(build.row, num_segments=len(samples), seconds_write=write_s, seconds_publish=publish_s)

    def _publish_sheet(self, contact_sheet: bytes, span: Span) -> float:
        """Publish the contact sheet of a span, if there is one; the seconds it takes."""
        begin = perf_counter()
        if contact_sheet:
            storage.publish_bytes(contact_sheet, shards.sheet_uri(self.dataset_uri, span, self.config))
        return perf_counter() - begin


def _use_batch_scheduling() -> None:
    """Let this thread, and the decoders it starts, run for long turns instead of interrupting one another.

    Otherwise a decoder and its reader that share a core hand it over several times for each picture. Linux only.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def load_detector(config: Config) -> Detector:
    """Load the face detector of a configuration; its model is fetched and verified.

    Raises:
        UsageError: the model is not there, or its sha256 is not the configured one.
    """
    faces = config.faces
    with tempfile.TemporaryDirectory(prefix="iaca-model-") as directory:
        path = _copy_model(config, directory) if faces.model_uri else None
        return make_detector(
            faces.detector, model_path=path, long_side_px=faces.long_side_px, min_score=faces.min_score
        )


def _copy_model(config: Config, directory: str) -> Path:
    uri, sha256 = config.faces.model_uri, config.faces.model_sha256.lower()
    try:
        path = storage.local_copy(uri, directory)
    except OSError as error:
        raise UsageError(f"faces.model_uri {uri} cannot be read: {error}{how_to_fetch_again(config)}") from error
    actual = shards.sha256_of_file(path)
    if actual != sha256:
        difference = f"has sha256 {actual}, but faces.model_sha256 is {sha256}"
        raise UsageError(f"faces.model_uri {uri} {difference}{how_to_fetch_again(config)}")
    return path
