"""A local job: a child process in its own session, followed line by line and ended with its caller."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from pipeline.runtime.environment import NO_RAY_AUTH, PRIVACY, python_path
from pipeline.runtime.exit_codes import CHECK

POLL_S = 0.2
NEUTRAL_FOLDER = "/"  # Ray lets its workers import what lies in the folder of the process that starts it
GRACE_S = 20.0  # between the request to stop and the kill

# Within this time a second signal repeats the first: timeout(1) signals its child, and then the group that both are in.
# A repetition must not cut short what the first has begun, so it is dropped in two places: by the command line's
# `_Interruption`, for its whole process; and by `_stop`, for handlers that raise each time: Prefect's, which takes
# SIGTERM while a flow runs, and that of a Python program which calls a flow.
REPEAT_S = 1.0


def job_command(kind: str, config_uri: str, *, check: bool = False) -> list[str]:
    """The command line of a job, or of the check whether its output is complete, with this interpreter."""
    return [sys.executable, "-m", f"{job_package()}.{kind}", *([CHECK] if check else []), config_uri]


def job_package() -> str:
    """The package that holds the jobs; IACA_JOBS names another one with the same contract."""
    return os.environ.get("IACA_JOBS", "pipeline.jobs")


def run(command: Sequence[str], on_line: Callable[[str], None], grace_s: float = GRACE_S) -> int:
    """Run `command`, hand over each line of its output as it comes, and return its exit code.

    It neither runs in the caller's folder nor imports from there: people have a random.py or a folder pipeline/.

    An interruption of this function (Ctrl-C, a cancelled flow) stops the child: SIGTERM to it and, `grace_s` later or
    at a second interruption, SIGKILL to its whole process group. SIGTERM, because the child of a process that ignores
    SIGINT (nohup, `command &` in a script) ignores it too until it has set its handler.

    Returns:
        The exit code; -N when signal N ended the process.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **PRIVACY, **NO_RAY_AUTH, **python_path()},
        cwd=NEUTRAL_FOLDER,
        start_new_session=True,
    )
    try:
        for line in _lines(process):
            on_line(line)
        return process.wait()
    except BaseException:
        _stop(process, grace_s)
        raise
    finally:
        _kill_group(process)


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    # Ends with the process, not with the pipe: a grandchild may hold the pipe open for longer.
    assert process.stdout is not None
    pending = b""
    with selectors.DefaultSelector() as ready, process.stdout as pipe:
        ready.register(pipe, selectors.EVENT_READ)
        while True:
            ended = process.poll() is not None
            chunk = os.read(pipe.fileno(), 1 << 16) if ready.select(0 if ended else POLL_S) else None
            *complete, pending = (pending + (chunk or b"")).split(b"\n")
            yield from (line.decode(errors="replace") for line in complete)
            if chunk == b"" or (chunk is None and ended):
                break
    if pending:
        yield pending.decode(errors="replace")


def _stop(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask the process to end and wait until it has, `grace_s` at most; a second interruption is raised."""
    begin_s = time.monotonic()
    process.terminate()
    while process.poll() is None and time.monotonic() < begin_s + grace_s:
        try:
            process.wait(begin_s + grace_s - time.monotonic())
        except subprocess.TimeoutExpired:
            return
        except BaseException:
            if time.monotonic() < begin_s + REPEAT_S:
                continue
            raise


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
