"""Small real jobs with the contract of the real ones: a process, progress lines, a result file, an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet

from pipeline.config import Config, UsageError
from pipeline.jobs.ray_session import start_ray
from pipeline.runtime import job_process
from pipeline.runtime.environment import VERBOSE
from pipeline.runtime.progress import JobResult, Progress, emit, emit_notices


def prepare(kind: str, config: Config) -> JobResult | None:
    """With the behaviour "finished" the result of a finished output; with "refused" a usage error.

    The configuration is left beside the output's folder.
    """
    behaviour, folder = behaviour_of(kind, Path(config.storage.root)), folder_of(kind, config)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.with_suffix(".checked.json").write_text(config.to_json())
    if behaviour == "refused":
        raise UsageError("the dataset has no labels")
    if behaviour != "finished":
        return None
    folder.mkdir(parents=True, exist_ok=True)
    write_output(kind, folder, config)
    return JobResult(kind, str(folder), True, 0.5, {"videos": 3})


def folder_of(kind: str, config: Config) -> Path:
    """Where the output of a job lies."""
    return Path(config.storage.root) / (f"evaluate-{config.evaluate.masked_modality}" if kind == "evaluate" else kind)


def run(kind: str, config: Config) -> JobResult:
    """Behave as FAKE_JOB says, e.g. `preprocess=die,train=fail`; each attempt leaves a file with its process id."""
    behaviour = behaviour_of(kind, Path(config.storage.root))
    folder = folder_of(kind, config)
    folder.mkdir(parents=True, exist_ok=True)
    attempts = len(list(folder.glob("attempt-*")))
    (folder / f"attempt-{attempts + 1}").write_text(str(os.getpid()))
    for done in range(4):
        emit(Progress(kind, done + 1, 4, "things", "of the fake"))
    emit_notices([f"a notice of {kind}"])
    print(f"ordinary output of {kind}, verbose={os.environ.get(VERBOSE)}")
    act(behaviour, folder, attempts)
    write_output(kind, folder, config)
    return JobResult(kind, str(folder), attempts > 0, 0.5, {"videos": 3, "rejected": int(behaviour == "reject")})


def act(behaviour: str, folder: Path, attempts: int) -> None:
    """Do what the behaviour says; "die" only in the first attempt."""
    match behaviour:
        case "usage":
            raise UsageError("the source is empty; set --source.videos")
        case "fail":
            raise OSError("the disk is full")
        case "list":
            raise ValueError(
                "60 shards are damaged:\n" + "\n".join(f"  train-{n}: the tar is missing" for n in range(60))
            )
        case "old error":
            print("error: of a tool", *range(15), sep="\n", flush=True)
            os._exit(7)
        case "crash":
            os._exit(7)
        case "ray":
            use_ray()
        case "release":
            while not (folder / "release").exists():
                time.sleep(0.1)
        case "kill":
            os.kill(os.getpid(), 9)
        case "die" if attempts == 0:
            os.kill(os.getpid(), 9)
        case "sleep" | "stubborn":
            sleep(folder, stubborn=behaviour == "stubborn")


def behaviour_of(kind: str, root: Path) -> str:
    """From a file under the root, or else from the environment."""
    if (file := root / f"{kind}.behaviour").exists():
        return file.read_text()
    return dict(item.split("=") for item in os.environ.get("FAKE_JOB", "").split(",") if item).get(kind, "done")


def write_output(kind: str, folder: Path, config: Config) -> None:
    """The files of an output that flows read for their summary."""
    if kind == "preprocess":
        names = ("status", "stage", "reason", "split", "labelled_frames", "video_id", "person", "detail")
        rows = [
            ("ok", "", "", "train", 9, "a", "", ""),
            ("ok", "decode", "partial", "val", 9, "b", "", "cut off"),
            ("rejected", "probe", "no_video", "test", 0, "c", "", "only sound"),
        ]
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / "videos.parquet")
    if kind == "evaluate":
        value = {"none": 0.75, "audio": 0.5, "video": 0.25}[config.evaluate.masked_modality]
        ccc = {"valence": value, "arousal": value, "mean": value}
        metrics = {
            "masked_modality": config.evaluate.masked_modality,
            "ccc": {"pooled": ccc, "per_video": {**ccc, "arousal": None, "mean": None}},
        }
        (folder / "metrics.json").write_text(json.dumps(metrics))


def use_ray() -> None:
    """Start or join a Ray and have it do something."""
    import ray

    start_ray()
    answer = ray.get(ray.remote(lambda: 6 * 7).options(num_cpus=1).remote())
    print(f"ray says {answer} on {len(ray.nodes())} node, cluster={job_process.on_cluster()}")


def sleep(folder: Path, stubborn: bool) -> None:
    """Start a grandchild, say so, and wait to be interrupted."""
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    (folder / "grandchild").write_text(str(grandchild.pid))
    until_s = time.monotonic() + 120
    while time.monotonic() < until_s:
        try:
            time.sleep(1)
        except KeyboardInterrupt:
            (folder / "interrupted").touch()
            if not stubborn:
                raise
