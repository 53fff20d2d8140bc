"""The command line as a process, and what becomes of processes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

IACA = Path(sys.executable).with_name("iaca")


def iaca(*words, cwd=None, timeout_s=120):
    """Run the installed console script to its end."""
    return subprocess.run([IACA, *words], capture_output=True, text=True, timeout=timeout_s, cwd=cwd, env=environment())


def start_iaca(*words, ignored=()):
    """Start the installed console script in a session of its own, with some signals ignored, and leave it running."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(
        [IACA, *words], **pipes, env=environment(), start_new_session=True, preexec_fn=ignore(*ignored)
    )


def ignore(*signals):
    """What a child process has to call first, so that it starts with these signals ignored, as under nohup."""
    return lambda: [signal.signal(sign, signal.SIG_IGN) for sign in signals]


def iaca_on_terminal(*words):
    """Run the console script with a terminal as its output; its exit code and what it wrote."""
    ours, theirs = os.openpty()
    process = subprocess.Popen([IACA, *words], stdout=theirs, stderr=theirs, env={**environment(), "TERM": "xterm"})
    os.close(theirs)
    written = b""
    with open(ours, "rb", buffering=0) as screen, suppress(OSError):  # EIO when the other side is closed
        while chunk := screen.read(4096):
            written += chunk
    return process.wait(60), written.decode()


def environment():
    """Ours, without what keeps Prefect quiet in the tests' own process: the command line must do so itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_LOGGING")}


def wait_for(path, within_s=60.0):
    """The text of a file as soon as there is some."""
    until_s = time.monotonic() + within_s
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until_s, f"{path} did not appear within {within_s} s"
        time.sleep(0.05)
    return path.read_text()


def gone(pid, within_s=5.0):
    """Whether the process ends, or is only a zombie, within the time."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        try:
            if psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False
