"""A local job: a child process in its own session, followed line by line and ended with its caller."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from pipeline.runtime.environment import NO_RAY_AUTH, PRIVACY

POLL_S = 0.2
GRACE_S = 20.0  # between the request to stop and the kill


def job_command(kind: str, config_uri: str) -> list[str]:
    """The command line of a job, with this interpreter."""
    return [sys.executable, "-m", f"{job_package()}.{kind}", config_uri]


def job_package() -> str:
    """The package that holds the jobs; IACA_JOBS names another one with the same contract."""
    return os.environ.get("IACA_JOBS", "pipeline.jobs")


def run(command: Sequence[str], on_line: Callable[[str], None], grace_s: float = GRACE_S) -> int:
    """Run `command`, hand over each line of its output as it comes, and return its exit code.

    An interruption of this function (Ctrl-C, a cancelled flow) interrupts the child: SIGINT to it and, `grace_s` later
    or at a second interruption, SIGKILL to its whole process group.

    Returns:
        The exit code; -N when signal N ended the process.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **PRIVACY, **NO_RAY_AUTH},
        start_new_session=True,
    )
    try:
        for line in _lines(process):
            on_line(line)
        return process.wait()
    except BaseException:
        _interrupt(process, grace_s)
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


def _interrupt(process: subprocess.Popen[bytes], grace_s: float) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(grace_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
