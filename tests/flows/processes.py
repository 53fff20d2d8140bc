"""The command line as a process, and what becomes of processes."""

import subprocess
import sys
import time
from pathlib import Path

IACA = Path(sys.executable).with_name("iaca")


def iaca(*words, cwd=None):
    """Run the installed console script to its end."""
    return subprocess.run([IACA, *words], capture_output=True, text=True, timeout=120, cwd=cwd)


def start_iaca(*words):
    """Start the installed console script and leave it running."""
    return subprocess.Popen([IACA, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


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
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
