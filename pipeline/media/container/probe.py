"""What one media file holds, as an expendable process reads it: hostile files crash that one or fill its memory."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.records import Probe, Rejection

TIMEOUT_S = 120.0  # containers are read to their end: a long file on a slow disk needs its time
FILES_PER_PROCESS = 1000  # what a library leaks is given back now and then


def probe(path: Path, *, max_duration_s: float, timeout_s: float = TIMEOUT_S) -> Probe:
    """Demux `path` once, without decoding.

    The first video stream that is no attached picture counts, and the first audio stream. Header counts and
    durations are not believed; where a header promises more than the packets hold, `Probe.problem` says so.

    Raises:
        Rejection: stage "probe"; reason unreadable, no_video, too_long, too_large or timeout.
        OSError: the file is not there or may not be read.
    """
    question = {"path": str(path), "max_duration_s": max_duration_s, "timeout_s": timeout_s}
    for _ in range(2):  # somebody else may have killed the process
        with _LOCK:
            process = _process()
            if (answer := process.ask(question, timeout_s)) is not None:
                return _read(answer)
            died = process.end()
    raise Rejection("probe", "unreadable", f"whoever reads this file dies: {died}")


def _read(answer: tuple[dict[str, Any], memoryview]) -> Probe:
    """The facts in an answer, or what it says instead."""
    words, data = answer
    if "rejection" in words:
        raise Rejection(*words["rejection"])
    if "error" in words:
        raise OSError(*words["error"])
    arrays: dict[str, Any] = {}
    first = 0
    for name, shape in words["arrays"].items():
        arrays[name] = np.frombuffer(data, "<f8", math.prod(shape), first).reshape(shape)
        first += arrays[name].nbytes
    return Probe(**words["probe"], **arrays)


class _ProbingProcess:
    """A running `python -m pipeline.media.container.probe_worker`. It ends when its standard input does."""

    def __init__(self) -> None:
        self.parent, self.num_files = os.getpid(), 0
        root = str(Path(__file__).parents[3])
        search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.media.container.probe_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": search, "OPENBLAS_NUM_THREADS": "1"},  # each thread reserves memory
            start_new_session=True,
        )

    @property
    def usable(self) -> bool:
        """Whether it is ours, alive and not worn out."""
        ours = self.parent == os.getpid()
        return ours and self._process.poll() is None and self.num_files < FILES_PER_PROCESS

    def ask(self, question: dict[str, object], timeout_s: float) -> tuple[dict[str, Any], memoryview] | None:
        """The answer's words and arrays; None when the process died over it.

        Raises:
            Rejection: ("probe", "timeout").
        """
        self.num_files += 1
        deadline_s = time.monotonic() + timeout_s
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            received = b""
            while b"\n" not in received:
                received += self._receive(deadline_s)
            line, _, data = received.partition(b"\n")
            words = json.loads(line)
            arrays = bytearray(data)
            while len(arrays) < 8 * sum(math.prod(shape) for shape in words.get("arrays", {}).values()):
                arrays += self._receive(deadline_s)
            return words, memoryview(arrays).toreadonly()
        except (BrokenPipeError, EOFError, ValueError):
            return None
        except TimeoutError:
            self.end()
            raise Rejection("probe", "timeout", f"not read within {timeout_s:g} s") from None

    def end(self) -> str:
        """Kill the process if it still runs; how it ended."""
        self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        return f"{signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _receive(self, deadline_s: float) -> bytes:
        assert self._process.stdout
        ready = select.poll()
        ready.register(self._process.stdout, select.POLLIN)
        if not ready.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
            raise TimeoutError
        fresh = os.read(self._process.stdout.fileno(), 1 << 20)
        if not fresh:
            raise EOFError
        return fresh


_LOCK = threading.Lock()
_running: list[_ProbingProcess] = []  # at most one, and only of this process


def _process() -> _ProbingProcess:
    """The process to ask; a new one where there is none."""
    if _running and not _running[0].usable:
        worn = _running.pop()
        if worn.parent == os.getpid():
            worn.end()
    if not _running:
        _running.append(_ProbingProcess())
    return _running[0]
