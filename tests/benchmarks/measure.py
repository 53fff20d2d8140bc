"""Processes that are pinned to a core, timed, and watched for their memory."""

import json
import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.dataset.plan.assign_splits import assign_splits
from pipeline.dataset.plan.scan import scan_video
from pipeline.dataset.plan.shard_plan import plan_shards, usable_s
from pipeline.dataset.sources.listing import list_videos
from pipeline.jobs.workers.shard_builder import load_detector
from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.records.serialize import to_json

ROOT = Path(__file__).parents[2]
PAUSE_S = 0.05


@dataclass(frozen=True)
class Timing:
    """Seconds by the clock, and of the processors."""

    wall_s: float
    cpu_s: float

    def per(self, video_s):
        """Milliseconds per second of video."""
        return Timing(1000 * self.wall_s / video_s, 1000 * self.cpu_s / video_s)


def timed(command, core=None):
    """Run a command to its end, on one core if one is given."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, preexec_fn=pin(core), stdout=subprocess.DEVNULL)
    wall_s, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Timing(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def plans_of(config):
    """The plan that the preprocessing job would make, made in this process."""
    videos = list_videos(config).videos
    tools = {"ffmpeg": find_ffmpeg(), "load_detector": lambda: load_detector(config)}
    scans = {video.key: scan_video(video, config, **tools) for video in videos}
    lengths_s = {key: usable_s(scan, config) for key, scan in scans.items()}
    return plan_shards(assign_splits(videos, lengths_s, config.splits), scans, config)


class Worker:
    """A process that builds shards without Ray, each time it is told to; it is warmed up when it is entered."""

    def __init__(self, config, dataset_uri: str, plans: Sequence, folder: Path, core=None):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(config.to_json())
        (folder / "plans.jsonl").write_text("".join(f"{to_json(plan)}\n" for plan in plans))
        command = [sys.executable, "-m", "tests.benchmarks.worker", str(folder), dataset_uri]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=ROOT, preexec_fn=pin(core), **pipes)

    def __enter__(self):
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait() == 0

    def begin(self):
        self.process.stdin.write("build\n")
        self.process.stdin.flush()

    def end(self):
        return Timing(**json.loads(self.process.stdout.readline()))

    def build(self):
        self.begin()
        return self.end()


class Watch:
    """A thread that runs `_watch` inside a `with` statement; `_stop` is set at the end of it."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        raise NotImplementedError


class FirstShard(Watch):
    """The seconds until the mark of the first shard that is begun matches the pattern `marks` below a folder."""

    def __init__(self, folder: Path, marks: str) -> None:
        super().__init__()
        self.folder, self.marks, self.seconds = folder, marks, 0.0

    def _watch(self):
        begin = time.perf_counter()
        while not next(self.folder.glob(self.marks), None) and not self._stop.wait(PAUSE_S):
            pass
        self.seconds = time.perf_counter() - begin


class PeakMemory(Watch):
    """The most memory a process and its children held: its own peak, plus the highest sum of its children's peaks."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.pid, self.own, self.children = pid, 0.0, 0.0

    @property
    def mb(self):
        return self.own + self.children

    def _watch(self):
        while not self._stop.wait(PAUSE_S):
            self.own = max(self.own, _peak_mb(self.pid))
            programs = [child for child in children_of(self.pid) if _program(child) != _program(self.pid)]
            self.children = max(self.children, sum(_peak_mb(child) for child in programs))


def children_of(pid):
    """The processes that a process has started and that are still there."""
    try:
        lists = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [int(child) for text in lists for child in text.split()]


def _program(pid):
    """The executable; a child that is forked and not yet another program still has its parent's, and its memory."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def _peak_mb(pid):
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:  # it has just ended
        return 0.0
    return int(found[1]) / 1e3 if found else 0.0


def pin(core):
    """What a child process has to call so that it stays on one core."""
    return None if core is None else lambda: os.sched_setaffinity(0, {core})
