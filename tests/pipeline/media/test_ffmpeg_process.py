import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from pipeline.media.ffmpeg_process import FFmpegProcess, MessagePipe
from tests.support.processes import gone


def shell(script, *arguments, **settings):
    return FFmpegProcess(["/bin/bash", "-c", script, "bash", *arguments], **({"timeout_s": 60} | settings))


def test_the_output_comes_whole_and_then_ends():
    data = np.zeros(300_000, np.uint8)
    with shell("head -c 300000 /dev/zero | tr '\\0' 'x'; printf tail") as process:
        assert process.read_into(data) == 300_000
        assert set(data.tolist()) == {ord("x")}
        rest = np.zeros(100, np.uint8)
        assert process.read_into(rest) == 4
        assert process.finish() == 0
    assert bytes(rest[:4]) == b"tail"


def test_errors_are_collected_without_the_component_and_without_order():
    def errors(*lines):
        with shell("printf '%s\\n' \"$@\" >&2; exit 3", *lines) as process:
            assert process.finish() == 3
        return process.errors

    lines = ["[h264 @ 0x55d] no frame!", "[in#0 @ 0x1] [aac @ 0x2] broken", "[h264 @ 0x77] no frame!", ""]
    assert errors(*lines) == errors(*reversed(lines)) == "broken; no frame!"


def test_endless_errors_neither_block_nor_grow():
    with shell("head -c 3000000 /dev/zero | tr '\\0' 'x' >&2; seq 100000 >&2") as process:
        assert process.finish() == 0
    assert len(process.errors) <= 3 * 200 + 4


def test_messages_are_not_mixed_with_output_and_errors():
    lines = []
    messages = MessagePipe(lines.append)
    number = messages.url.removeprefix("pipe:")
    with shell(f"echo output; echo error >&2; seq 3 >&{number}", messages=messages) as process:
        output = np.zeros(100, np.uint8)
        assert process.read_into(output) == len(b"output\n")
        assert process.finish() == 0
    assert lines == ["1\n", "2\n", "3\n"]
    assert process.errors == "error"


def test_a_command_that_is_not_there_leaves_nothing_open():
    messages = MessagePipe(print)
    with pytest.raises(FileNotFoundError):
        FFmpegProcess(["/nowhere/ffmpeg"], timeout_s=1, messages=messages)
    for number in (messages.reading_fd, messages.writing_fd):
        with pytest.raises(OSError):
            os.fstat(number)


def test_the_deadline_kills_the_whole_group():
    with shell("sleep 60 & echo $!; sleep 60", timeout_s=0.3) as process:
        pid = np.zeros(20, np.uint8)
        num_bytes = process.read_into(pid)
        assert process.finish() == -signal.SIGKILL
        assert process.timed_out
    assert gone(int(bytes(pid[:num_bytes])), within_s=10)


def test_leaving_early_kills_the_process():
    pid = np.zeros(8, np.uint8)
    with shell("printf %8d $$; sleep 60") as process:
        process.read_into(pid)
    assert gone(int(bytes(pid)), within_s=10)
    assert not process.timed_out


def test_the_process_dies_with_its_parent():
    script = (
        "import sys, numpy; from pipeline.media.ffmpeg_process import FFmpegProcess\n"
        "process = FFmpegProcess(['/bin/sh', '-c', 'printf %8d $$; exec sleep 60'], timeout_s=60)\n"
        "pid = numpy.zeros(8, numpy.uint8); process.read_into(pid)\n"
        "print(bytes(pid).decode(), flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.kill()
    parent.wait()
    assert gone(pid, within_s=10)


def test_memory_and_files_are_limited(tmp_path):
    def run(statement):
        with FFmpegProcess([sys.executable, "-c", statement], timeout_s=60) as process:
            return process.finish()

    assert run("bytearray(1 << 20)") == 0
    assert run("bytearray(5 << 30)") == 1
    run(f"open({str(tmp_path / 'file')!r}, 'w').write('x')")
    assert (tmp_path / "file").stat().st_size == 0


def test_burnt_cpu_counts_as_a_timeout():
    with FFmpegProcess([sys.executable, "-c", "while True: pass"], timeout_s=1.0) as process:
        process.finish()
    assert process.timed_out
