"""An ffmpeg process that cannot outlive its parent, its deadline or its share of memory."""

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
LINE_BYTES = 4096  # of a message; a longer line is cut
MAX_ERRORS = 20  # different messages that are kept
_PR_SET_PDEATHSIG = 1
_COMPONENT = re.compile(r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] )+")
_LIBC = ctypes.CDLL(None, use_errno=True)  # opened here: nothing may be loaded between fork and exec


class MessagePipe:
    """A pipe for lines that a process sends beside its output and its errors.

    Args:
        on_message: called for each line, in a thread of its own.
    """

    def __init__(self, on_message: Callable[[str], None]) -> None:
        self.on_message = on_message
        self.reading_fd, self.writing_fd = os.pipe()

    @property
    def url(self) -> str:
        """Where ffmpeg writes the lines, e.g. pipe:17."""
        return f"pipe:{self.writing_fd}"


class FFmpegProcess:
    """A running command whose output is read with `read_into`, while threads collect its errors and messages.

    To be used in a `with` statement, or ended with `close`: then the process is gone, whatever happened.

    Args:
        command: a command line whose standard error holds nothing but errors.
        timeout_s: wall clock, and processor time; the whole process group is killed after it.
        messages: a pipe that the command writes to.

    Raises:
        OSError: the command cannot be started.
    """

    def __init__(self, command: list[str], *, timeout_s: float, messages: MessagePipe | None = None) -> None:
        self.timed_out = False
        self._errors: set[str] = set()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                pass_fds=[messages.writing_fd] if messages else [],
                preexec_fn=_limits(os.getpid(), timeout_s),  # only system calls in it
            )
        except OSError:
            if messages:
                os.close(messages.reading_fd)
            raise
        finally:
            if messages:
                os.close(messages.writing_fd)
        assert isinstance(self._process.stdout, io.FileIO)
        assert isinstance(self._process.stderr, io.FileIO)
        self._output = self._process.stdout
        with contextlib.suppress(OSError):  # a system that forbids larger pipes is merely slower
            fcntl.fcntl(self._output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._threads = [_read_lines(self._process.stderr, self._add_error)]
        if messages:
            self._threads.append(_read_lines(io.FileIO(messages.reading_fd), messages.on_message))
        self._deadline = threading.Timer(timeout_s, self._expire)
        self._deadline.daemon = True
        self._deadline.start()

    @property
    def errors(self) -> str:
        """The first three error messages of the command, sorted: their order depends on its threads."""
        return "; ".join(sorted(self._errors)[:3])

    def read_into(self, array: NDArray[np.generic]) -> int:
        """Fill `array` from the output.

        Returns:
            The number of bytes read, which is less than the array's only at the end of the output.
        """
        view = memoryview(array.data).cast("B")
        filled = 0
        while filled < len(view):
            num_bytes = self._output.readinto(view[filled:])
            if not num_bytes:
                break
            filled += num_bytes
        return filled

    def read_line(self) -> bytes:
        """The rest of the output's line, read byte by byte, so that nothing behind it is consumed."""
        line = b""
        while not line.endswith(b"\n") and len(line) < LINE_BYTES and (byte := self._output.read(1)):
            line += byte
        return line

    def finish(self) -> int:
        """Wait for the end of the process and of its messages.

        Returns:
            Its exit code, negative for a signal.
        """
        self._output.close()
        exit_code = self._process.wait()
        for thread in self._threads:
            thread.join()
        self._deadline.cancel()
        if exit_code == -signal.SIGXCPU:
            self.timed_out = True
        return exit_code

    def close(self) -> None:
        """End the process, if it still runs."""
        self._kill()
        self.finish()

    def __enter__(self) -> FFmpegProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _expire(self) -> None:
        self.timed_out = True
        self._kill()

    def _add_error(self, line: str) -> None:
        message = _COMPONENT.sub("", line.strip())
        if message and len(self._errors) < MAX_ERRORS:
            self._errors.add(message[:200])


def _read_lines(source: io.FileIO, on_line: Callable[[str], None]) -> threading.Thread:
    """A thread that reads `source` to its end."""

    def read() -> None:
        with io.BufferedReader(source, 1 << 16) as lines:
            while line := lines.readline(LINE_BYTES):
                on_line(line.decode(errors="replace"))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _limits(parent_pid: int, timeout_s: float) -> Callable[[], None]:
    """What the new process does to itself between fork and exec."""
    cpu_s = int(timeout_s) + 1

    def restrict() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it died before the line above
            os._exit(1)
        resource.setrlimit(resource.RLIMIT_AS, (DECODE_BYTES, DECODE_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it only ever writes to pipes

    return restrict
