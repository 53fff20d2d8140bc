"""Following a child process: its lines, its exit code, and that nothing of it is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flows import local_job
from tests.support.processes import gone, wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def interruptible():
    """This process is interrupted by SIGINT, also where it was started with that ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def python(code):
    return [sys.executable, "-u", "-c", code]


def interrupt_soon(path, times=1):
    """Send SIGINT to this process once `path` exists, and again a second later."""

    def wait_and_send():
        while not path.exists():
            time.sleep(0.02)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1.0)

    threading.Thread(target=wait_and_send, daemon=True).start()


def test_lines_arrive_whole_and_in_order():
    lines = []
    code = local_job.run(
        python("import sys; print('a'); sys.stderr.write('b\\xff\\n'); print('c', end='')"), lines.append
    )
    assert (code, lines) == (0, ["a", "bÿ", "c"])


def test_lines_arrive_while_the_child_runs():
    arrived = []
    local_job.run(
        python("import time; print(1); time.sleep(1); print(2)"),
        lambda _: arrived.append(time.monotonic()),
    )
    assert arrived[1] - arrived[0] > 0.8


@pytest.mark.parametrize(("code", "expected"), [("raise SystemExit(5)", 5), ("import os; os.kill(os.getpid(), 9)", -9)])
def test_exit_code(code, expected):
    assert local_job.run(python(code), print) == expected


def test_a_grandchild_that_holds_the_pipe_neither_blocks_nor_survives():
    lines = []
    spawn = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid)"
    started_s = time.monotonic()
    assert local_job.run(python(spawn), lines.append) == 0
    assert time.monotonic() - started_s < 10
    assert gone(int(lines[0]))


def test_an_interruption_reaches_the_child_which_may_tidy_up(tmp_path):
    ready, tidied = tmp_path / "ready", tmp_path / "tidied"
    code = f"""
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    pathlib.Path({str(ready)!r}).touch(); time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5); pathlib.Path({str(tidied)!r}).touch()
"""
    interrupt_soon(ready)
    with pytest.raises(KeyboardInterrupt):
        local_job.run(python(code), print)
    assert tidied.exists()


@pytest.mark.parametrize(("times", "grace_s"), [(1, 1.0), (2, 60.0)])
def test_a_child_that_will_not_stop_is_killed_with_its_group(tmp_path, times, grace_s):
    ready, lines = tmp_path / "ready", []
    code = f"""
import os, pathlib, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid()); print(subprocess.Popen(['sleep', '60']).pid)
pathlib.Path({str(ready)!r}).touch(); time.sleep(60)
"""
    interrupt_soon(ready, times)
    started_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        local_job.run(python(code), lines.append, grace_s=grace_s)
    assert time.monotonic() - started_s < 15
    assert all(gone(int(pid)) for pid in lines)
    time.sleep(1.2 if times == 2 else 0)  # the second signal must not hit the next test


def test_a_child_that_is_still_starting_ends_at_once(tmp_path):
    """Before it has set its handlers, and started by a process that ignores SIGINT: then it does so, too."""
    ready = tmp_path / "ready"
    caller = f"""
import os, signal, sys, threading, time
from flows import local_job
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.default_int_handler)
child = "import pathlib, time; pathlib.Path({str(ready)!r}).write_text('starting'); time.sleep(60)"
try:
    local_job.run([sys.executable, "-c", child], print, grace_s=60)
except KeyboardInterrupt:
    raise SystemExit(130)
"""
    with subprocess.Popen(python(caller)) as process:
        wait_for(ready)
        process.terminate()
        assert process.wait(10) == 130


def test_a_signal_that_comes_twice_at_once_is_one_interruption(tmp_path):
    """As timeout(1) sends it: to its child, and to the group that both are in."""
    ready, tidied = tmp_path / "ready", tmp_path / "tidied"
    code = f"""
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    pathlib.Path({str(ready)!r}).write_text("ready"); time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5); pathlib.Path({str(tidied)!r}).touch()
"""

    def send_twice():
        wait_for(ready)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    threading.Thread(target=send_twice, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        local_job.run(python(code), print)
    assert tidied.exists()


def test_nothing_private_is_added_and_nothing_is_reported_home(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "inherited")
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    lines = []
    local_job.run(
        python("import os; print(os.environ['AWS_SECRET_ACCESS_KEY'], os.environ['DO_NOT_TRACK'])"), lines.append
    )
    assert lines == ["inherited 1"]


def test_modules_in_the_callers_folder_are_not_imported(tmp_path, monkeypatch):
    for name in ("pipeline/__init__.py", "random.py", "flows/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('imported from the wrong folder')")
    monkeypatch.chdir(tmp_path)
    lines = []
    assert local_job.run([sys.executable, "-m", "pipeline.jobs.verify"], lines.append) == 2
    assert lines[0].startswith("usage: python -m pipeline.jobs.verify")


def test_what_was_found_by_a_relative_path_is_found_still(tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/detectors_of_mine.py").write_text("print('found')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["own", "", os.environ.get("PYTHONPATH", str(ROOT))]))
    lines = []
    assert local_job.run([sys.executable, "-m", "detectors_of_mine"], lines.append) == 0
    assert lines == ["found"]
