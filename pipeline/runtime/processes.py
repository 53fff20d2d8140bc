"""The processes below a job's own: adopted when their parents die, ended before the job ends, or killed by script."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h; psutil has no call for them
POLL_S = 0.02
KILL_S = 10.0  # after SIGKILL; a process in a system call that hangs is not waited for any longer


def die_with_parent(sign: int) -> None:
    """Have the kernel send `sign` to this process when the one that started it dies (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, sign)


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def descendants(pid: int | None = None) -> list[psutil.Process]:
    """The living processes below the one with this pid, by default below this one; empty when it has ended."""
    with suppress(psutil.NoSuchProcess):
        return [process for process in psutil.Process(pid).children(recursive=True) if _is_alive(process)]
    return []


def end_descendants(grace_s: float = 2.0) -> None:
    """End every process below this one: SIGTERM first, and SIGKILL to those that are there `grace_s` later.

    Only after `adopt_orphans` is an orphan a descendant and ended, too.
    """
    until_s = time.monotonic() + grace_s
    for process in descendants():
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    while (remaining := descendants()) and time.monotonic() < until_s + KILL_S:
        if time.monotonic() > until_s:
            _kill(remaining)
        time.sleep(POLL_S)


def kill_scripts(*paths: str) -> None:
    """Kill the processes below this one that run one of these scripts, given by the end of its path."""
    for process in descendants():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any(argument.endswith(paths) for argument in process.cmdline()):
                process.kill()


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _is_alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie does not, and only its parent can remove it."""
    with suppress(psutil.NoSuchProcess):
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False
