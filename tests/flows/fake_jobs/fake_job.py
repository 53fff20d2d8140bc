"""Small real jobs with the contract of the real ones: a process, progress lines, a result file, an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from pipeline.config import Config, UsageError
from pipeline.progress import JobResult, Progress, emit


def run(kind: str, config: Config) -> JobResult:
    """Behave as FAKE_JOB says, e.g. `shard=die,train=fail`; each attempt leaves a file with its process id."""
    behaviour = dict(item.split("=") for item in os.environ.get("FAKE_JOB", "").split(",") if item).get(kind, "done")
    folder = Path(config.storage.root) / kind
    folder.mkdir(parents=True, exist_ok=True)
    attempts = len(list(folder.glob("attempt-*")))
    (folder / f"attempt-{attempts + 1}").write_text(str(os.getpid()))
    for done in range(4):
        emit(Progress(kind, done + 1, 4, "things", "of the fake"))
    print(f"ordinary output of {kind}, verbose={os.environ.get('IACA_VERBOSE')}")
    match behaviour:
        case "usage":
            raise UsageError("the source is empty; set --source.videos")
        case "fail":
            raise OSError("the disk is full")
        case "crash":
            os._exit(7)
        case "die" if attempts == 0:
            os.kill(os.getpid(), 9)
        case "sleep" | "stubborn":
            sleep(folder, stubborn=behaviour == "stubborn")
    return JobResult(kind, str(folder), attempts > 0, 0.5, {"videos": 3, "rejected": int(behaviour == "reject")})


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
