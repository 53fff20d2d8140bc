"""Jobs on a real Ray with its Jobs API: submitted once, followed, taken over, stopped."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest

from flows import cluster_job
from flows.job_errors import JobLostError
from flows.launch import run_job
from pipeline.config import UsageError, load
from tests.support.processes import start_iaca, wait_for

HEAD = """
import ray, sys
print(ray.init(address="local", num_cpus=2, include_dashboard=True, dashboard_port=0).dashboard_url, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a Ray head whose jobs are the fake ones; what they do is written in a file."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "IACA_JOBS": "tests.support.fake_jobs"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL, cwd=tmp_path_factory.mktemp("head"),
    )  # fmt: skip
    yield f"http://{head.stdout.readline().strip()}"
    head.stdin.close()
    head.wait(60)


@pytest.fixture
def config(cluster, tmp_path):
    folders = {"storage": {"root": str(tmp_path), "shared": True}, "source": {"videos": str(tmp_path), "shared": True}}
    return load(None, {"name": "fake", "cluster": {"address": cluster}, **folders})


@pytest.fixture
def behave(fake_jobs, tmp_path):
    """Tell the fake jobs under this root what to do; their processes do not see our environment."""
    return lambda **behaviour: [(tmp_path / f"{kind}.behaviour").write_text(what) for kind, what in behaviour.items()]


def attempts(tmp_path, kind):
    return len(list((tmp_path / kind).glob("attempt-*")))


def log_of(tmp_path, kind):
    return next(tmp_path.glob(f"jobs/{kind}-*/job.log")).read_text()


pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def test_a_job_joins_the_cluster_and_its_result_comes_back(behave, config, tmp_path):
    behave(verify="ray")
    lines = []
    result = run_job("verify", config, lines.append)
    assert result.output_uri == str(tmp_path / "verify")
    assert lines[-1] == "verify: 4/4 things  of the fake"
    assert "ray says 42 on 1 node, cluster=True" in log_of(tmp_path, "verify")


def test_every_run_of_its_own_is_a_new_attempt_but_a_retry_takes_what_succeeded(behave, config, tmp_path):
    run_job("train", config, owner="monday")
    assert run_job("train", config, owner="monday").skipped is False
    assert attempts(tmp_path, "train") == 1
    assert run_job("train", config, owner="tuesday").skipped is True
    assert run_job("train", config).skipped is True
    assert attempts(tmp_path, "train") == 3
    assert "-a3" in log_of(tmp_path, "train")


def test_a_second_run_follows_the_job_of_the_first(behave, config, tmp_path):
    behave(train="release")
    results = []
    runs = [
        threading.Thread(target=lambda who=who: results.append(run_job("train", config, owner=who))) for who in "ab"
    ]
    runs[0].start()
    wait_for(tmp_path / "train/attempt-1")
    runs[1].start()
    time.sleep(3)
    (tmp_path / "train/release").write_text("now")
    for one in runs:
        one.join(60)
    assert len(results) == 2
    assert attempts(tmp_path, "train") == 1


@pytest.mark.parametrize(
    ("behaviour", "error", "message"), [("usage", UsageError, "source is empty"), ("kill", JobLostError, "by signal 9")]
)
def test_failures_keep_their_kind(behave, config, behaviour, error, message):
    behave(verify=behaviour)
    with pytest.raises(error, match=message):
        run_job("verify", config)


def test_a_cancelled_flow_stops_its_jobs_and_no_others(behave, config, tmp_path):
    from prefect.client.schemas.objects import FlowRun
    from prefect.states import Cancelling

    from flows.prefect_options import stop_jobs
    from flows.train import train

    behave(train="sleep", evaluate="release")
    ended, mine = [], uuid4()

    def run(kind, owner):
        try:
            run_job(kind, config, owner=owner)
            ended.append((kind, "done"))
        except KeyboardInterrupt:
            ended.append((kind, "stopped"))

    runs = [threading.Thread(target=run, args=pair) for pair in (("train", str(mine)), ("evaluate", str(uuid4())))]
    for one in runs:
        one.start()
    wait_for(tmp_path / "train/grandchild")
    wait_for(tmp_path / "evaluate-none/attempt-1")
    stop_jobs(train, FlowRun(id=mine, flow_id=uuid4(), parameters={"config": config.model_dump()}), Cancelling())
    (tmp_path / "evaluate-none/release").write_text("now")
    for one in runs:
        one.join(60)
    assert sorted(ended) == [("evaluate", "done"), ("train", "stopped")]
    assert cluster_job.stop_all(config.cluster.address, str(mine)) == []


def test_ctrl_c_stops_the_job_on_the_cluster(behave, cluster, tmp_path):
    behave(verify="sleep")
    where = ("--cluster.address", cluster, "--storage.root", str(tmp_path), "--storage.shared")
    running = start_iaca("verify", str(tmp_path), *where)
    wait_for(tmp_path / "verify/grandchild")
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=90)
    assert running.returncode == 130
    assert "To resume: iaca verify" in output
    assert (tmp_path / "verify/interrupted").exists()


def test_a_missing_cluster_is_reported_in_one_line(tmp_path):
    where = {"cluster": {"address": "http://127.0.0.1:9"}, "storage": {"root": str(tmp_path), "shared": True}}
    with pytest.raises(JobLostError, match=r"cannot reach a Ray cluster at cluster.address http://127.0.0.1:9"):
        run_job("train", load(None, where))
