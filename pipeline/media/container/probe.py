"""Probing a media file in an expendable process: hostile files crash that one, or fill its memory."""

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
FILES_PER_PROCESS = 1000  # then a new one is started, so that leaked memory is freed


def probe(path: Path, *, max_duration_s: float, timeout_s: float = TIMEOUT_S) -> Probe:
    """Demux `path` once, without decoding.

    The first video stream that is no attached picture counts, and the first audio stream. Header counts and
    durations are not believed; where a header promises more than the packets hold, `Probe.problem` reports it.

    Args:
        path: of the media file.
        max_duration_s: longer files are rejected.
        timeout_s: wall clock.

    Raises:
        Rejection: stage "probe"; reason unreadable, no_video, too_long, too_large or timeout.
        OSError: the file is not there or may not be read.
    """
    request = {"path": str(path), "max_duration_s": max_duration_s, "timeout_s": timeout_s}
    for _ in range(2):  # the first process may have been killed by something else than this file
        with _LOCK:
            process = _running_process()
            response = process.send(request, timeout_s)
            if response is not None:
                return _probe_of(*response)
            ending = process.end()
    raise Rejection("probe", "unreadable", f"the process that reads this file died: {ending}")


def _probe_of(header: dict[str, Any], data: memoryview) -> Probe:
    """The probe in a response.

    Raises:
        Rejection: the response holds one.
        OSError: the response holds one.
    """
    if "rejection" in header:
        raise Rejection(*header["rejection"])
    if "error" in header:
        raise OSError(*header["error"])
    arrays: dict[str, Any] = {}
    offset = 0
    for name, shape in header["arrays"].items():
        arrays[name] = np.frombuffer(data, "<f8", math.prod(shape), offset).reshape(shape)
        offset += arrays[name].nbytes
    return Probe(**header["probe"], **arrays)


class _ProbeProcess:
    """A running `python -m pipeline.media.container.probe_worker`. It ends when its standard input does."""

    def __init__(self) -> None:
        self.parent_pid, self.num_files = os.getpid(), 0
        root = str(Path(__file__).parents[3])
        python_path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.media.container.probe_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": python_path, "OPENBLAS_NUM_THREADS": "1"},  # each thread reserves memory
            start_new_session=True,
        )

    @property
    def is_usable(self) -> bool:
        """Whether this very process has started it, it runs, and it has not read too many files."""
        started_here = self.parent_pid == os.getpid()
        return started_here and self._process.poll() is None and self.num_files < FILES_PER_PROCESS

    def send(self, request: dict[str, object], timeout_s: float) -> tuple[dict[str, Any], memoryview] | None:
        """Send a request and wait for the response.

        Returns:
            The response's header and the bytes of its arrays; None when the process died.

        Raises:
            Rejection: ("probe", "timeout").
        """
        self.num_files += 1
        deadline_s = time.monotonic() + timeout_s
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            received = b""
            while b"\n" not in received:
                received += self._receive(deadline_s)
            line, _, data = received.partition(b"\n")
            header = json.loads(line)
            arrays = bytearray(data)
            while len(arrays) < 8 * sum(math.prod(shape) for shape in header.get("arrays", {}).values()):
                arrays += self._receive(deadline_s)
            return header, memoryview(arrays).toreadonly()
        except (BrokenPipeError, EOFError, ValueError):
            return None
        except TimeoutError:
            self.end()
            raise Rejection("probe", "timeout", f"not read within {timeout_s:g} s") from None

    def end(self) -> str:
        """Kill the process if it still runs.

        Returns:
            How it ended: the name of a signal, or its exit code.
        """
        self._process.kill()
        exit_code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        return signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"

    def _receive(self, deadline_s: float) -> bytes:
        assert self._process.stdout
        ready = select.poll()
        ready.register(self._process.stdout, select.POLLIN)
        if not ready.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
            raise TimeoutError
        data = os.read(self._process.stdout.fileno(), 1 << 20)
        if not data:
            raise EOFError
        return data


_LOCK = threading.Lock()
_running: list[_ProbeProcess] = []  # at most one, and only of this process


def _running_process() -> _ProbeProcess:
    """The process that reads the next file; a new one where none is usable."""
    if _running and not _running[0].is_usable:
        unusable = _running.pop()
        if unusable.parent_pid == os.getpid():
            unusable.end()
    if not _running:
        _running.append(_ProbeProcess())
    return _running[0]
