"""An ffmpeg child process that cannot outlive its parent, its deadline or its share of memory."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import io
import os
import re
import resource
import signal
import subprocess
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

ADDRESS_SPACE_BYTES = 4 << 30
PIPE_BYTES = 1 << 20
LINE_BYTES = 4096  # of ffmpeg's words; a longer line is cut
_PR_SET_PDEATHSIG = 1
_ERROR_LINE = re.compile(r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(?:error|fatal|panic)\] (.*)$")
_LIBC = ctypes.CDLL(None, use_errno=True)  # opened here: nothing may be loaded between fork and exec


class Child:
    """A running command: its output is read with `read_into`, its words are collected by a thread of their own.

    To be used in a `with` statement; at the end of it the process is gone, whatever happened.

    Args:
        command: an ffmpeg command line that says `-loglevel level+...`, which is how errors are recognised.
        timeout_s: wall clock; the whole process group is killed after it.
        on_line: called from the collecting thread for every line that is no error.
    """

    def __init__(self, command: list[str], *, timeout_s: float, on_line: Callable[[str], None] | None = None) -> None:
        self.timed_out = False
        self.last_error = ""
        self.timeout_s = timeout_s
        self._on_line = on_line
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            preexec_fn=_limits(os.getpid(), timeout_s),  # only system calls in it
        )
        assert isinstance(self._process.stdout, io.FileIO)
        assert isinstance(self._process.stderr, io.FileIO)
        self._output, self._stderr = self._process.stdout, self._process.stderr
        with contextlib.suppress(OSError):  # a system that forbids larger pipes is merely slower
            fcntl.fcntl(self._output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._words = threading.Thread(target=self._collect, daemon=True)
        self._words.start()
        self._deadline = threading.Timer(timeout_s, self._expire)
        self._deadline.daemon = True
        self._deadline.start()

    def read_into(self, array: NDArray[np.generic]) -> int:
        """Fill `array` from the output; the number of bytes read, which is less than its size only at the end."""
        view = memoryview(array.data).cast("B")
        filled = 0
        while filled < len(view):
            num_bytes = self._output.readinto(view[filled:])
            if not num_bytes:
                break
            filled += num_bytes
        return filled

    def finish(self) -> int:
        """Wait for the end of the process and of its words; its return code, negative for a signal."""
        self._output.close()
        code = self._process.wait()
        self._words.join()
        self._deadline.cancel()
        if code == -signal.SIGXCPU:
            self.timed_out = True
        return code

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exception: object) -> None:
        self._kill()
        self.finish()

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _expire(self) -> None:
        self.timed_out = True
        self._kill()

    def _collect(self) -> None:
        with io.BufferedReader(self._stderr, 1 << 16) as words:
            while line := words.readline(LINE_BYTES).decode(errors="replace"):
                if match := _ERROR_LINE.match(line.rstrip()):
                    self.last_error = match[1]
                elif self._on_line:
                    self._on_line(line)


def _limits(parent: int, timeout_s: float) -> Callable[[], None]:
    """What the child does to itself between fork and exec."""
    cpu_s = int(timeout_s) + 1

    def restrict() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it only ever writes to pipes

    return restrict
