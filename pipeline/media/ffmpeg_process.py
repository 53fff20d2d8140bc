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

from pipeline.media.limits import DECODE_BYTES

PIPE_BYTES = 1 << 20
LINE_BYTES = 4096  # of ffmpeg's words; a longer line is cut
MAX_COMPLAINTS = 20  # different ones that are remembered
_PR_SET_PDEATHSIG = 1
_SPEAKER = re.compile(r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] )+")
_LIBC = ctypes.CDLL(None, use_errno=True)  # opened here: nothing may be loaded between fork and exec


class NotePipe:
    """A way for a child to send lines that are mixed with nothing else: `url` is where ffmpeg shall write them."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self.take = take
        self.reading_fd, self.writing_fd = os.pipe()

    @property
    def url(self) -> str:
        """For ffmpeg, e.g. pipe:17."""
        return f"pipe:{self.writing_fd}"


class Child:
    """A running command: its output is read with `read_into`; threads of their own collect complaints and notes.

    To be used in a `with` statement; at the end of it the process is gone, whatever happened.

    Args:
        command: a command line whose standard error holds nothing but complaints.
        timeout_s: wall clock; the whole process group is killed after it.
        notes: a pipe that the command was told to write to.
    """

    def __init__(self, command: list[str], *, timeout_s: float, notes: NotePipe | None = None) -> None:
        self.timed_out = False
        self._complaints: set[str] = set()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                pass_fds=[notes.writing_fd] if notes else [],
                preexec_fn=_limits(os.getpid(), timeout_s),  # only system calls in it
            )
        except OSError:
            if notes:
                os.close(notes.reading_fd)
            raise
        finally:
            if notes:
                os.close(notes.writing_fd)
        assert isinstance(self._process.stdout, io.FileIO)
        assert isinstance(self._process.stderr, io.FileIO)
        self._output = self._process.stdout
        with contextlib.suppress(OSError):  # a system that forbids larger pipes is merely slower
            fcntl.fcntl(self._output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._threads = [_collect(self._process.stderr, self._note_complaint)]
        if notes:
            self._threads.append(_collect(io.FileIO(notes.reading_fd), notes.take))
        self._deadline = threading.Timer(timeout_s, self._expire)
        self._deadline.daemon = True
        self._deadline.start()

    @property
    def complaints(self) -> str:
        """What went wrong, in the command's words; in an order that does not depend on its threads."""
        return "; ".join(sorted(self._complaints)[:3])

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

    def read_line(self) -> bytes:
        """The output up to the end of its line, read byte by byte, so that nothing behind it is taken."""
        line = b""
        while not line.endswith(b"\n") and len(line) < LINE_BYTES and (byte := self._output.read(1)):
            line += byte
        return line

    def finish(self) -> int:
        """Wait for the end of the process and of all it says; its return code, negative for a signal."""
        self._output.close()
        code = self._process.wait()
        for thread in self._threads:
            thread.join()
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

    def _note_complaint(self, line: str) -> None:
        words = _SPEAKER.sub("", line.strip())
        if words and len(self._complaints) < MAX_COMPLAINTS:
            self._complaints.add(words[:200])


def _collect(source: io.FileIO, take: Callable[[str], None]) -> threading.Thread:
    def read() -> None:
        with io.BufferedReader(source, 1 << 16) as lines:
            while line := lines.readline(LINE_BYTES):
                take(line.decode(errors="replace"))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _limits(parent: int, timeout_s: float) -> Callable[[], None]:
    """What the child does to itself between fork and exec."""
    cpu_s = int(timeout_s) + 1

    def restrict() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)
        resource.setrlimit(resource.RLIMIT_AS, (DECODE_BYTES, DECODE_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it only ever writes to pipes

    return restrict
