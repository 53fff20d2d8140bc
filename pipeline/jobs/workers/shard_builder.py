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

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.dataset.build import attempts
from pipeline.dataset.build.span_build import SpanBuild, Tools
from pipeline.dataset.format import shards
from pipeline.dataset.format.shard_file import ShardFile
from pipeline.dataset.plan.shard_plan import digest, plan_from_json
from pipeline.media.faces.detect import Detector, make_detector
from pipeline.media.ffmpeg_command import ffmpeg_version, find_ffmpeg
from pipeline.records import STAGE_SECONDS, Rejection, ShardPlan, ShardRecord, Span, VideoRow
from pipeline.storage.scratch import remove_abandoned, scratch_folder

MAX_CRASHES = 2  # of workers on one span, before it is taken for what kills them
NOT_THE_VIDEO = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def find_toolchain() -> dict[str, str]:
    """Versions of what the bytes of a dataset depend on besides this program."""
    opencv = importlib.metadata.version("opencv-python-headless")
    return {"ffmpeg": ffmpeg_version(find_ffmpeg()), "opencv": opencv}


class ShardBuilder:
    """Builds one shard at a time, each from its plan alone."""

    def __init__(self, config_json: str, dataset_uri: str, toolchain: dict[str, str], run: str = "") -> None:
        self.config = Config.model_validate_json(config_json)
        self.dataset_uri, self.toolchain, self.run = dataset_uri, toolchain, run
        own = find_toolchain()
        if own != toolchain:
            raise RuntimeError(f"this worker has {own}, the driver {toolchain}: install the same versions on all nodes")
        remove_abandoned()
        importlib.import_module("webdataset")  # and torch with it: now, not as the first video's peak of memory
        self.tools = Tools(find_ffmpeg(), load_detector(self.config))

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """Build and publish the shard of a plan; both sides are JSON.

        What stops a shard (a full disk, a store that does not answer) is an answer too: raised, it would reach the
        driver wrapped in advice about Ray.
        """
        plan = plan_from_json(row["plan"])
        try:
            if row["sha256"]:
                return {"record": "", "error": self.repair(plan, row["sha256"])}
            # Ray may ask again for a shard whose answer it lost.
            record = shards.finished_shard(self.dataset_uri, plan.name, digest(plan)) or self.build(plan)
        except OSError as error:
            return {"record": "", "error": f"{plan.name}: {error}"}
        return {"record": shards.record_to_json(record), "error": ""}

    def repair(self, plan: ShardPlan, sha256: str) -> str:
        """Build the tar of a plan again and publish it if it has the sha256 it should have; what is wrong if not."""
        with scratch_folder() as directory:
            path = directory / f"{plan.name}.tar"
            with ShardFile(path) as tar:
                rows = [self.build_span(span, tar, directory) for span in plan.spans]
            found = shards.sha256_of(path)
            if found == sha256:
                storage.publish(path, shards.shard_uri(self.dataset_uri, plan.name))
                return ""
        lost = "".join(f"\n  {row.uri}: {row.reason}: {row.detail}" for row in rows if row.status == "rejected")
        return f"{plan.name}: built again it has sha256 {found}, dataset.json says {sha256}; nothing was replaced{lost}"

    def build(self, plan: ShardPlan) -> ShardRecord:
        """Every span of the plan into a tar in a temporary directory, then the tar and its sidecar to storage."""
        attempt = attempts.begin(self.dataset_uri, plan.name, self.run)
        with scratch_folder() as directory:
            path = directory / f"{plan.name}.tar"
            with ShardFile(path) as tar:
                videos = self._build_spans(plan, tar, directory, attempt)
            attempt.note(None)
            record = ShardRecord(
                name=plan.name,
                sha256=shards.sha256_of(path),
                size_bytes=path.stat().st_size,
                plan_digest=digest(plan),
                samples=tuple(tar.rows),
                videos=videos,
                toolchain=self.toolchain,
                attempts=attempt.number,
                label_grid=tuple(tar.label_grid.ravel().tolist()),
                spans=plan.spans,
            )
            return shards.write_shard(path, record, self.dataset_uri)

    def _build_spans(
        self, plan: ShardPlan, tar: ShardFile, directory: Path, attempt: attempts.Attempt
    ) -> tuple[VideoRow, ...]:
        """A row per span; one that has killed its workers is left alone, and its row says so."""
        died, rows = attempt.crashes(), []
        for span in plan.spans:
            crashes = died[attempts.name_of(span)]
            if crashes < MAX_CRASHES:
                attempt.note(span)
                rows.append(replace(self.build_span(span, tar, directory), attempts=crashes + 1))
            else:
                why = f"{crashes} workers died while they worked on it; --retry-rejected tries again"
                worker_crash = SpanBuild(span, self.config, self.tools, directory).rejected(
                    "worker_crash", why, "worker"
                )
                rows.append(replace(worker_crash, attempts=crashes))
        return tuple(rows)

    def build_span(self, span: Span, tar: ShardFile, directory: Path) -> VideoRow:
        """The boundary of one video: whatever goes wrong with it becomes its row, and its neighbours go on."""
        _take_long_turns()
        with tempfile.TemporaryDirectory(prefix="video-", dir=directory) as own:
            build = SpanBuild(span, self.config, self.tools, Path(own))
            begin = perf_counter()
            try:
                rows = tar.add_video(build.segments())
            except Rejection as rejection:
                self._publish_sheet(rejection.contact_sheet or build.sheet, span)
                return build.rejected(rejection.reason, rejection.detail, rejection.stage)
            except Exception as error:  # the one place: a video must not take its shard with it
                if isinstance(error, OSError) and (error.errno in NOT_THE_VIDEO or build.reads_storage):
                    raise
                return build.rejected("error", f"{type(error).__name__}: {error}")
            spent = sum(getattr(build.row, name) for name in STAGE_SECONDS)
            row = replace(build.row, num_segments=len(rows), seconds_write=max(0.0, perf_counter() - begin - spent))
            return replace(row, seconds_publish=self._publish_sheet(build.sheet, span))

    def _publish_sheet(self, sheet: bytes, span: Span) -> float:
        """Publish the contact sheet of a span, if there is one; how many seconds it takes."""
        begin = perf_counter()
        if sheet:
            storage.publish_bytes(sheet, shards.sheet_uri(self.dataset_uri, span, self.config))
        return perf_counter() - begin


def _take_long_turns() -> None:
    """Have this thread, and the decoders it starts, not interrupt whoever is at work when there is something to do.

    Otherwise a decoder and its reader that share a core hand it over several times for each picture. Linux only.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def load_detector(config: Config) -> Detector:
    """The face detector of a configuration, its model fetched and verified.

    Raises:
        UsageError: the model is not there, or its sha256 is not the configured one.
    """
    faces = config.faces
    with tempfile.TemporaryDirectory(prefix="iaca-model-") as directory:
        path = _fetch_model(faces.model_uri, faces.model_sha256, directory) if faces.model_uri else None
        return make_detector(
            faces.detector, model_path=path, long_side_px=faces.long_side_px, min_score=faces.min_score
        )


def _fetch_model(uri: str, sha256: str, directory: str) -> Path:
    try:
        path = storage.local_copy(uri, directory)
    except OSError as error:
        raise UsageError(f"faces.model_uri {uri} cannot be read: {error}") from error
    found = shards.sha256_of(path)
    if found != sha256.lower():
        raise UsageError(f"faces.model_uri {uri} has sha256 {found}, but faces.model_sha256 is {sha256}")
    return path
