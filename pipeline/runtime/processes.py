"""The processes below a job's own: adopted when their parents die, ended before the job ends, or killed by name."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
POLL_S = 0.02
KILL_S = 10.0  # within which whoever can be killed is gone; a process in a system call that hangs cannot


def adopt() -> None:
    """Become the parent of every descendant that loses its own (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_all(grace_s: float = 2.0) -> None:
    """End every process below this one: SIGTERM, and SIGKILL to what is left of them after `grace_s`.

    A process that waits for a disk that does not answer outlives even that; it is not waited for.

    Complete only after `adopt`, without which an orphan is nobody's descendant.
    """
    until = time.monotonic() + grace_s
    _signal(below(os.getpid()), signal.SIGTERM)
    while (remaining := below(os.getpid())) and time.monotonic() < until + KILL_S:
        if time.monotonic() > until:
            _signal(remaining, signal.SIGKILL)
        time.sleep(POLL_S)


def kill(*scripts: str) -> None:
    """Kill those processes below this one whose command line names one of these scripts by the end of its path."""
    for pid in below(os.getpid()):
        with suppress(FileNotFoundError, ProcessLookupError):
            words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
            if any(word.endswith(scripts) for word in words):
                os.kill(pid, signal.SIGKILL)


def below(ancestor: int) -> set[int]:
    """Pids of the living descendants of a process; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [ancestor]
    while waiting:
        new = [pid for pid in children.get(waiting.pop(), []) if pid not in found]
        found.update(new)
        waiting += new
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """Every living process and its parent."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # After the name, which may hold spaces and brackets, come the state and the parent.
            state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            if state not in "ZX":
                yield int(folder.name), int(parent)


def _signal(pids: set[int], sign: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, sign)
