"""What the tests of preprocessing share: a small configuration, plans, builds with and without Ray, invariants."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from pipeline import storage
from pipeline.config import load
from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.format.dataset_info import read_dataset, read_index, read_videos
from pipeline.dataset.plan.assign_splits import assign_splits
from pipeline.dataset.plan.scan import scan_video
from pipeline.dataset.plan.shard_plan import plan_shards
from pipeline.dataset.sources.listing import list_videos
from pipeline.jobs import verify
from pipeline.jobs.workers import shard_builder
from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.runtime.progress import result_from_json

SMALL = {
    "media": {"crop_px": 48},
    "faces": {"detect_every": 10},
    "segments": {"num_frames": 32, "num_preroll": 15},
    "sequence": {"num_subclips": 2, "subclip_frames": 16, "subclip_dilation": 4, "subclip_stride": 16},
    "shards": {"max_videos": 2},
}
ONE_SHARD = {"min_shards": 1}  # so that tests of shards with several videos have such


def config_of(talkers, root, **changes):
    source = {key: str(talkers / name) for key, name in (("videos", "videos"), ("labels", "labels"))}
    source["manifest"] = str(talkers / "manifest.csv")
    changes["shards"] = ONE_SHARD | changes.get("shards", SMALL["shards"])
    return load(None, {"name": "talk", "source": source, "storage": {"root": str(root)}, **SMALL, **changes})


def with_options(config, **options):
    """The same configuration with other options of preprocessing."""
    return config.model_copy(update={"preprocess": replace(config.preprocess, **options)})


def plans_of(config, *video_ids):
    """The plan of the source, or the part of it that some of its videos would have alone."""
    tools = {"ffmpeg": find_ffmpeg(), "load_detector": lambda: shard_builder.load_detector(config)}
    scans = {v.key: scan_video(v, config, **tools) for v in list_videos(config).videos}
    videos = videos_of(config, scans)
    return plan_shards([v for v in videos if not video_ids or v.video_id in video_ids], scans, config)


def videos_of(config, scans):
    """The streams of the source with their splits."""
    videos = list_videos(config).videos
    return assign_splits(videos, {video.key: scans[video.key].duration_s for video in videos}, config.splits)


def anchor_of(config, video):
    """Where the person is, as the scan before the plan finds it for a video that will be cut."""
    cut = config.model_copy(update={"shards": replace(config.shards, span_minutes=0.01)})
    tools = {"ffmpeg": find_ffmpeg(), "load_detector": lambda: shard_builder.load_detector(config)}
    return scan_video(video, cut, **tools).anchor


def build_in_process(config, name="talk"):
    """The dataset of a configuration, built by one worker in this process, without Ray."""
    toolchain = shard_builder.find_toolchain(config)
    uri = storage.join(config.storage.root, "datasets", name)
    builder = shard_builder.ShardBuilder(config, uri, toolchain)
    records = [builder.build(plan) for plan in plans_of(config)]
    return commit_dataset(uri, config, records, toolchain)


def builder_of(config, uri):
    """A worker that builds shards, in this process."""
    return shard_builder.ShardBuilder(config, uri, shard_builder.find_toolchain(config))


def start_job(config, folder, kind="preprocess"):
    """The job as a process of its own, as the flows start it; its output goes to a file.

    All processes that come of it bear `folder` in their environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.to_json())
    command = [sys.executable, "-m", f"pipeline.jobs.{kind}", str(folder / "config.json")]
    with (folder / "output.txt").open("w") as output:
        environment = {**os.environ, "IACA_TEST_JOB": str(folder)}
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)


def result_of(process, folder):
    """What the job says of itself, once it has ended well and left no process behind."""
    assert process.wait(timeout=240) == 0, (folder / "output.txt").read_text()
    wait_for(lambda: not survivors(folder), timeout_s=90)  # agents of a killed driver's Ray take up to a minute
    return result_from_json((folder / "result.json").read_bytes())


def wait_for(condition, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found


def alive(pid):
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def survivors(folder):
    """Ids and names of the processes that came of the job of this folder and still run."""
    mark, found = f"IACA_TEST_JOB={folder}\0".encode(), {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes() and alive(process.name):
                found[process.name] = (process / "comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def require_invariants(uri, undisturbed):
    """Whatever happened: every input once, committed bytes as recorded, equal to the undisturbed build."""
    info = read_dataset(uri)
    assert info.digest == undisturbed.digest
    assert not list(filter(None, (verify.problem_of(uri, s, rows_of(uri, s.name)) for s in info.shards)))
    keys = [row.key for row in read_index(uri)]
    assert len(keys) == len(set(keys)) == info.counts["samples"]
    rows = read_videos(uri)
    assert sorted(row.uri for row in rows) == sorted(row.uri for row in read_videos(undisturbed.uri))
    assert info.counts["ok"] + info.counts["rejected"] == len(rows)
    assert storage.list_files(storage.join(uri, "attempts")) == []


def rows_of(uri, name):
    return [row for row in read_index(uri) if row.shard == f"{name}.tar"]
