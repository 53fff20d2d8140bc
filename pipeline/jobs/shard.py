"""The preprocessing job: raw videos to a committed dataset of shards, with Ray Data."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from pipeline import storage
from pipeline.config import Config, UsageError, dataset_fingerprint, require_detector
from pipeline.dataset import shards
from pipeline.dataset.build import Tools, VideoBuild
from pipeline.dataset.card import outcome_lines
from pipeline.dataset.plan import digest, estimate, plan_from_json, plan_shards, plan_text, plan_to_json
from pipeline.dataset.scratch import remove_abandoned, scratch_folder
from pipeline.dataset.sources import Listing, list_videos
from pipeline.dataset.tars import ShardFile
from pipeline.jobs import entry
from pipeline.media.decode import ffmpeg_version, find_ffmpeg
from pipeline.media.faces import Detector, make_detector
from pipeline.media.probe import probe
from pipeline.progress import JobResult, Progress, emit
from pipeline.records import Rejection, ShardPlan, ShardRecord, Video, VideoRow

MAX_PROBED = 64  # videos whose duration the estimate looks at
SPACE_MARGIN = 1.2  # of the estimate must be free
MAX_DEATHS = 2  # of one worker, and of one shard's workers, before the run gives up
NOT_THE_VIDEO = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def run(config: Config) -> JobResult:
    """Build the dataset of `config.source` below `config.storage.root`, or find it there.

    Raises:
        UsageError: the source, the labels' folder, the manifest or the detector's model cannot be used as given, or
            there is too little space.
        DatasetError: more videos were rejected than `shards.max_rejected_fraction` allows.
    """
    begin = perf_counter()
    require_detector(config)
    toolchain = find_toolchain()
    config = config.model_copy(update={"faces": _absolute_model(config)})
    listing = list_videos(config)
    name = f"{config.name}-{dataset_fingerprint(config, listing.identities, toolchain)}"
    uri = storage.join(config.storage.root, "datasets", name)
    committed = _committed(uri)
    if committed:
        line = f"{uri} is complete: {len(committed.shards)} shards, nothing to do"
        return JobResult("shard", uri, True, perf_counter() - begin, committed.counts, (line,))
    plans = plan_shards(listing.videos, config)
    expected = estimate(listing.videos, _durations(listing), config)
    lines = plan_text(plans, listing.ignored, expected)
    print("\n".join(lines), flush=True)
    if config.dry_run:
        counts = {"videos": len(listing.videos), "shards": len(plans), "mb": expected.bytes / 1e6}
        return JobResult("shard", uri, False, perf_counter() - begin, counts, lines)
    _require_space(uri, expected.bytes)
    records = _build(plans, config, uri, toolchain)
    refuse_too_many_rejections(records, config)
    info = shards.finish_dataset(uri, config, records, toolchain)
    outcomes = outcome_lines([row for record in records for row in record.videos])
    return JobResult("shard", uri, False, perf_counter() - begin, info.counts, outcomes)


def find_toolchain() -> dict[str, str]:
    """Versions of what the bytes of a dataset depend on besides this program."""
    opencv = importlib.metadata.version("opencv-python-headless")
    return {"ffmpeg": ffmpeg_version(find_ffmpeg()), "opencv": opencv}


class ShardBuilder:
    """A worker that builds one shard at a time, each from its plan alone."""

    def __init__(self, config_json: str, dataset_uri: str, toolchain: dict[str, str]) -> None:
        self.config = Config.model_validate_json(config_json)
        self.dataset_uri, self.toolchain = dataset_uri, toolchain
        own = find_toolchain()
        if own != toolchain:
            raise RuntimeError(f"this worker has {own}, the driver {toolchain}: install the same versions on all nodes")
        remove_abandoned()
        self.tools = Tools(find_ffmpeg(), load_detector(self.config))

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """Build and publish the shard of a plan; both sides are JSON.

        What stops a shard (a full disk, a store that does not answer) is an answer too: raised, it would reach the
        driver wrapped in advice about Ray.
        """
        plan = plan_from_json(row["plan"])
        try:
            # Ray may ask again for a shard whose answer it lost.
            record = shards.finished_shard(self.dataset_uri, plan.name, digest(plan)) or self.build(plan)
        except OSError as error:
            return {"record": "", "error": f"{plan.name}: {error}"}
        return {"record": shards.record_to_json(record), "error": ""}

    def build(self, plan: ShardPlan) -> ShardRecord:
        """Every video of the plan into a tar in a temporary directory, then the tar and its sidecar to storage."""
        attempts = shards.begin_attempt(self.dataset_uri, plan.name)
        with scratch_folder() as directory:
            path = directory / f"{plan.name}.tar"
            with ShardFile(path) as tar:
                videos = tuple(self._build_video(video, tar, directory) for video in plan.videos)
            record = ShardRecord(
                name=plan.name,
                sha256=shards.sha256_of(path),
                size_bytes=path.stat().st_size,
                plan_digest=digest(plan),
                samples=tuple(tar.rows),
                videos=videos,
                toolchain=self.toolchain,
                attempts=attempts,
                label_grid=tuple(tar.label_grid.ravel().tolist()),
            )
            shards.write_shard(path, record, self.dataset_uri)
        return record

    def _build_video(self, video: Video, tar: ShardFile, directory: Path) -> VideoRow:
        """The boundary of one video: whatever goes wrong with it becomes its row, and its neighbours go on."""
        with tempfile.TemporaryDirectory(prefix="video-", dir=directory) as own:
            build = VideoBuild(video, self.config, self.tools, Path(own))
            begin = perf_counter()
            try:
                rows = tar.add_video(build.segments())
            except Rejection as rejection:
                return build.rejected(rejection.reason, rejection.detail, rejection.stage)
            except Exception as error:  # the one place: a video must not take its shard with it
                if isinstance(error, OSError) and error.errno in NOT_THE_VIDEO:
                    raise
                return build.rejected("error", f"{type(error).__name__}: {error}")
            spent = build.row.seconds_probe + build.row.seconds_decode + build.row.seconds_faces
            spent += build.row.seconds_audio
            return replace(build.row, num_segments=len(rows), seconds_write=max(0.0, perf_counter() - begin - spent))


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


def _absolute_model(config: Config) -> object:
    uri = config.faces.model_uri
    return replace(config.faces, model_uri=storage.normalise(uri)) if uri else config.faces


def _committed(uri: str) -> shards.DatasetInfo | None:
    """The dataset at `uri` when it is committed and its shards are there by name and size."""
    if not storage.exists(storage.join(uri, "dataset.json")):
        return None
    info = shards.read_dataset(uri)
    shards.require_complete(info)
    return info


def _durations(listing: Listing) -> dict[str, float]:
    """Durations of evenly chosen videos; none where looking would mean a download."""
    step = -(-len(listing.videos) // MAX_PROBED)
    known = {}
    for video in listing.videos[::step]:
        if storage.is_local(video.uri):
            try:
                known[video.key] = probe(Path(video.uri), max_duration_s=float("inf")).duration_s
            except (Rejection, OSError):
                continue  # its row will say why
    return known


def _require_space(uri: str, expected_bytes: float) -> None:
    free, wanted = storage.free_bytes(uri), expected_bytes * SPACE_MARGIN
    if free is not None and free < wanted:
        raise UsageError(
            f"{uri} needs about {wanted / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free there; "
            "free some space or choose another storage.root"
        )


def _build(plans: Sequence[ShardPlan], config: Config, uri: str, toolchain: dict[str, str]) -> list[ShardRecord]:
    """The records of all shards: those of an earlier, interrupted build and those built now."""
    found = (shards.finished_shard(uri, plan.name, digest(plan)) for plan in plans)
    records = {record.name: record for record in found if record}
    left = [plan for plan in plans if plan.name not in records]
    if records:
        print(f"{len(records)} of {len(plans)} shards are there from an earlier run", flush=True)
    emit(Progress("shards", len(records), len(plans), "shards"))
    try:
        for record in _on_ray(left, config, uri, toolchain):
            records[record.name] = record
            emit(Progress("shards", len(records), len(plans), "shards", _note(record)))
    except KeyboardInterrupt:
        print(f"at least {len(records)} of {len(plans)} shards are finished and kept; the same command continues")
        raise
    return [records[plan.name] for plan in plans]


def _note(record: ShardRecord) -> str:
    rejected = sum(row.status == "rejected" for row in record.videos)
    return f"{record.name}: {len(record.videos)} videos, {rejected} rejected, {record.size_bytes / 1e6:.1f} MB"


def _on_ray(plans: Sequence[ShardPlan], config: Config, uri: str, toolchain: dict[str, str]) -> Iterator[ShardRecord]:
    """The records in the order in which the shards are finished."""
    if not plans:
        return
    load_detector(config)  # a wrong model is better refused here than by every worker
    if not os.environ.get("IACA_VERBOSE"):
        os.environ.setdefault("RAY_DATA_LOG_LEVEL", "CRITICAL")
    import ray

    entry.start_ray(config.cluster.num_workers or None)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True  # its message is for people
    context.execution_no_progress_timeout_s = 2 * config.media.timeout_s * max(len(plan.videos) for plan in plans)
    num_workers = min(len(plans), config.cluster.num_workers or int(ray.cluster_resources()["CPU"]))
    items = [{"plan": plan_to_json(plan)} for plan in plans]
    with warnings.catch_warnings():  # Ray < 2.64 takes these arguments, and knows no others to the same effect
        warnings.simplefilter("ignore", DeprecationWarning)
        built = ray.data.from_items(items, override_num_blocks=len(items)).map(
            ShardBuilder,  # type: ignore[arg-type]  # a class whose instances are called
            fn_constructor_args=(config.to_json(), uri, toolchain),
            compute=ray.data.ActorPoolStrategy(size=num_workers, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            max_restarts=MAX_DEATHS,
            max_task_retries=MAX_DEATHS,
        )
    try:
        for row in built.iter_rows():
            if row["error"]:
                raise RuntimeError(row["error"])
            yield shards.record_from_json(row["record"])
    finally:
        ray.shutdown()
        remove_abandoned()


def refuse_too_many_rejections(records: Sequence[ShardRecord], config: Config) -> None:
    """Raise DatasetError with the table of rejections when they are more than `shards.max_rejected_fraction`."""
    rows = [row for record in records for row in record.videos]
    rejected = [row for row in rows if row.status == "rejected"]
    if len(rejected) > config.shards.max_rejected_fraction * len(rows):
        table = "\n".join(f"  {row.uri}: {row.stage}: {row.reason}: {row.detail}" for row in rejected)
        raise shards.DatasetError(
            f"{len(rejected)} of {len(rows)} videos were rejected; shards.max_rejected_fraction is "
            f"{config.shards.max_rejected_fraction}:\n{table}"
        )


if __name__ == "__main__":
    entry.main("shard", run)
