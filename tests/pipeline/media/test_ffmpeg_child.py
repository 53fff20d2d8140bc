import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.media.child import Child


def shell(script, **settings):
    return Child(["/bin/sh", "-c", script], **({"timeout_s": 60} | settings))


def wait_until_gone(pid, timeout_s=10.0):
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} still runs")


def test_the_output_comes_whole_and_then_ends():
    data = np.zeros(300_000, np.uint8)
    with shell("head -c 300000 /dev/zero | tr '\\0' 'x'; printf tail") as child:
        assert child.read_into(data) == 300_000
        assert set(data.tolist()) == {ord("x")}
        rest = np.zeros(100, np.uint8)
        assert child.read_into(rest) == 4
        assert child.finish() == 0
    assert bytes(rest[:4]) == b"tail"


def test_errors_are_told_from_other_words():
    lines = []
    script = (
        "echo '[h264 @ 0x55d] [error] no frame!' >&2; echo '[in#0 @ 0x1] [h264 @ 0x2] [fatal] broken' >&2;"
        "echo '[showinfo @ 0x1] [info] n: 0 [error] in the title' >&2; exit 3"
    )
    with shell(script, on_line=lines.append) as child:
        assert child.finish() == 3
    assert child.last_error == "broken"
    assert lines == ["[showinfo @ 0x1] [info] n: 0 [error] in the title\n"]


def test_endless_words_neither_block_nor_grow():
    lengths = []
    with shell("head -c 3000000 /dev/zero | tr '\\0' 'x' >&2", on_line=lambda line: lengths.append(len(line))) as child:
        assert child.finish() == 0
    assert sum(lengths) == 3_000_000
    assert max(lengths) <= 4096


def test_the_deadline_kills_the_whole_group():
    with shell("sleep 60 & echo $!; sleep 60", timeout_s=0.3) as child:
        pid = np.zeros(20, np.uint8)
        num_bytes = child.read_into(pid)
        assert child.finish() == -signal.SIGKILL
        assert child.timed_out
    wait_until_gone(int(bytes(pid[:num_bytes])))


def test_leaving_early_kills_the_child():
    pid = np.zeros(8, np.uint8)
    with shell("printf %8d $$; sleep 60") as child:
        child.read_into(pid)
    wait_until_gone(int(bytes(pid)))
    assert not child.timed_out


def test_the_child_dies_with_its_parent():
    script = (
        "import sys, numpy; from pipeline.media.child import Child\n"
        "child = Child(['/bin/sh', '-c', 'printf %8d $$; exec sleep 60'], timeout_s=60)\n"
        "pid = numpy.zeros(8, numpy.uint8); child.read_into(pid)\n"
        "print(bytes(pid).decode(), flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.kill()
    parent.wait()
    wait_until_gone(pid)


def test_memory_and_files_are_limited(tmp_path):
    def run(statement):
        with Child([sys.executable, "-c", statement], timeout_s=60) as child:
            return child.finish()

    assert run("bytearray(1 << 20)") == 0
    assert run("bytearray(5 << 30)") == 1
    run(f"open({str(tmp_path / 'file')!r}, 'w').write('x')")
    assert (tmp_path / "file").stat().st_size == 0


def test_burnt_cpu_counts_as_a_timeout():
    with Child([sys.executable, "-c", "while True: pass"], timeout_s=1.0) as child:
        child.finish()
    assert child.timed_out
