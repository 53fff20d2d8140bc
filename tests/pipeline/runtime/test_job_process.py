"""A job's process: its result file, its exit codes, its one line of failure, and that it dies with its parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.runtime.progress import result_from_json
from tests.support.processes import gone, ignore

JOB = """
import os, sys, time
import psutil
from pipeline.config import Config, UsageError
from pipeline.jobs.ray_session import start_ray
from pipeline.runtime import job_process, processes
from pipeline.runtime.progress import JobResult

class Own: pass

def prepare(config):
    if config.name == "usage": raise UsageError("set source.videos, it is empty")
    if config.name == "finished": return JobResult("fake", "there", True, 0.0)
    return "what is to be done"

def run(config):
    if config.name == "usage": raise UsageError("set source.videos, it is empty")
    if config.name == "failed": raise RuntimeError("shard 3 of 4 is gone")
    if config.name == "list":
        raise RuntimeError("2 of 3 shards are damaged:\\n\\n  train-0: the tar is missing\\nval-0: too short\\n")
    if config.name == "silent": raise KeyError("x")
    if config.name == "odd":
        print("ignored: \\udcff.mp3")
        raise ValueError("\\udcff.mp4 and \\udcfe.mp4 are one")
    if config.name == "sleep":
        print("started", os.getpid(), flush=True)
        time.sleep(60)
    if config.name == "ray":
        start_ray(1)
        import ray
        assert ray.get(ray.remote(lambda: 6 * 7).remote()) == 42
        for process in processes.descendants():
            try:
                command = " ".join(process.cmdline())
                variables = open(f"/proc/{process.pid}/environ").read().split(chr(0))
            except (psutil.Error, OSError):
                continue
            # Ray's Python processes write their title over their variables; they inherit those of the raylet.
            is_readable = not command.startswith("ray::")
            is_off = "RAY_enable_metrics_collection=0" in variables
            print("below:", command, "with metrics" if is_readable and not is_off else "")
    counts = {"privacy": float(os.environ["DO_NOT_TRACK"])}
    return JobResult("fake", config.storage.root, False, 0.0, counts, (Own.__module__,))

if __name__ == "__main__":
    job_process.main("fake", run, prepare)
"""


@pytest.fixture
def job(tmp_path):
    (tmp_path / "fake_job.py").write_text(JOB)

    def command(name: str, **environment: str) -> dict:
        config = tmp_path / name / "config.json"
        config.parent.mkdir(exist_ok=True)
        config.write_text(Config(name=name).to_json())
        paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
        return {
            "args": [sys.executable, "-m", "fake_job", str(config)],
            "env": os.environ | {"PYTHONPATH": paths} | environment,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }

    return command


def test_a_result_stands_beside_the_configuration(job, tmp_path):
    done = subprocess.run(**job("fine"), timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    result = result_from_json((tmp_path / "fine/result.json").read_bytes())
    assert result.counts == {"privacy": 1.0}
    assert result.lines == ("fake_job",), "classes must be importable by their module's name"


@pytest.mark.parametrize(
    ("name", "code", "is_found"), [("finished", 0, True), ("sleep", 4, False), ("usage", 2, False)]
)
def test_a_check_computes_nothing_and_finds_what_is_complete(job, tmp_path, name, code, is_found):
    command = job(name)
    command["args"].insert(-1, "--check")
    done = subprocess.run(**command, timeout=30, check=False)
    assert done.returncode == code, done.stderr
    found = tmp_path / name / "result.json"
    assert found.exists() == is_found
    assert not is_found or result_from_json(found.read_bytes()).output_uri == "there"


def test_a_wrong_call_is_answered_with_the_usage(job):
    command = job("fine")
    command["args"].append("more")
    done = subprocess.run(**command, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: python -m pipeline.jobs.fake [--check] URI_OF_CONFIG_JSON\n")


@pytest.mark.parametrize(
    ("name", "code", "line"),
    [
        ("usage", 2, "error: set source.videos, it is empty"),
        ("failed", 1, "error: shard 3 of 4 is gone"),
        ("list", 1, "error: 2 of 3 shards are damaged:\n  train-0: the tar is missing\n  val-0: too short"),
        ("silent", 1, "error: a defect of the program, please report it: KeyError: 'x'"),
    ],
)
def test_failures_are_a_message_and_a_code(job, tmp_path, name, code, line):
    done = subprocess.run(**job(name), timeout=60, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (code, line, "")
    assert not (tmp_path / name / "result.json").exists()


def test_a_private_ray_runs_nothing_that_it_does_not_need(job):
    done = subprocess.run(**job("ray", IACA_VERBOSE=""), timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    below = [line for line in done.stdout.splitlines() if line.startswith("below:")]
    assert any("raylet" in line for line in below)
    assert not [line for line in below if "monitor.py" in line or "with metrics" in line]


def test_names_that_are_not_unicode_are_spelt_out(job):
    done = subprocess.run(**job("odd", PYTHONIOENCODING="utf-8:strict"), timeout=60, check=False)
    output = "ignored: \\udcff.mp3\nerror: \\udcff.mp4 and \\udcfe.mp4 are one\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, output, "")


def test_verbose_failures_show_the_traceback(job):
    done = subprocess.run(**job("failed", IACA_VERBOSE="1"), timeout=60, check=False)
    assert "Traceback" in done.stdout
    assert done.stdout.strip().endswith("error: shard 3 of 4 is gone")


def test_a_missing_configuration_is_one_line(job):
    command = job("fine")
    command["args"][-1] += ".gone"
    done = subprocess.run(**command, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("error: ")
    assert "config.json.gone" in done.stdout


@pytest.mark.parametrize("ignored", [(), (signal.SIGINT,)])
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_130(job, sign, ignored):
    with subprocess.Popen(**job("sleep"), preexec_fn=ignore(*ignored)) as child:
        assert child.stdout.readline().startswith("started")
        child.send_signal(sign)
        output, _ = child.communicate(timeout=30)
    assert (child.returncode, output.strip()) == (130, "interrupted")


def test_it_dies_with_its_parent(job, tmp_path):
    command = job("sleep")
    parent = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({command['args']!r}, stdout=subprocess.PIPE, text=True)\n"
        "print(child.stdout.readline(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(**(command | {"args": [sys.executable, "-c", parent]})) as process:
        pid = int(process.stdout.readline().split()[1])
        process.kill()
        process.communicate(timeout=30)
    assert gone(pid, within_s=20), "the job outlived its parent"
