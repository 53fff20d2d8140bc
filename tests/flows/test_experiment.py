"""The flows on Prefect's own temporary server, with jobs that are processes but only pretend."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from flows.job_errors import JobError
from pipeline.config import UsageError, load
from pipeline.config.dataset_sections import PreprocessConfig
from tests.support.processes import gone, iaca, start_iaca, wait_for


@pytest.fixture
def config(tmp_path):
    return load(None, {"name": "fake", "storage": {"root": str(tmp_path)}, "source": {"videos": str(tmp_path)}})


@pytest.fixture
def jobs(tmp_path):
    """The configurations that jobs were started with, by kind."""

    def read():
        paths = sorted(tmp_path.glob("jobs/*/config.json"))
        return {path.parent.name.split("-")[0]: json.loads(path.read_text()) for path in paths}

    read.folder = tmp_path
    return read


def test_each_stage_receives_what_the_one_before_made(fake_jobs, config, jobs, tmp_path):
    from flows.experiment import experiment

    results = experiment(config)
    assert [result.kind for result in results] == ["preprocess", "train", "evaluate"]
    assert jobs()["train"]["train"]["dataset"] == str(tmp_path / "preprocess")
    assert jobs()["evaluate"]["evaluate"]["run"] == str(tmp_path / "train")


def test_only_a_command_that_trains_asks_for_splits_to_train_on(fake_jobs, config, jobs):
    from flows.experiment import experiment
    from flows.preprocess import preprocess

    preprocess(config)
    assert not jobs()["preprocess"]["preprocess"]["require_trainable"]
    experiment(config)
    configs = [json.loads(path.read_text()) for path in jobs.folder.glob("jobs/preprocess-*/config.json")]
    assert sorted(each["preprocess"]["require_trainable"] for each in configs) == [False, True]


def test_a_dry_run_stops_at_the_plan(fake_jobs, config, jobs):
    from flows.experiment import experiment

    dry = config.model_copy(update={"preprocess": PreprocessConfig(dry_run=True)})
    assert [result.kind for result in experiment(dry)] == ["preprocess"]
    assert jobs() == {}, "a plan leaves nothing under the root"


def test_what_prefect_keeps_of_a_run(fake_jobs, config, tmp_path):
    """The runs under their names, a JSON result, and an artifact with the counts and the output's place."""
    from prefect.artifacts import Artifact
    from prefect.client.orchestration import get_client

    from flows.preprocess import preprocess

    state = preprocess(config, return_state=True)
    assert state.name == "Completed"
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
        assert run.parameters["config"]["name"] == "fake"
        tasks = [task for task in client.read_task_runs() if task.flow_run_id == run.id]
        assert [task.name.rsplit("-", 1)[0] for task in tasks] == ["preprocess"]
    artifact = Artifact.get("preprocess")
    assert str(tmp_path / "preprocess") in artifact.data
    assert "| rejected | 0 |" in artifact.data
    assert state.data.metadata.serializer.type == "json"
    assert state.result().counts == {"videos": 3, "rejected": 0}


def test_a_job_killed_from_outside_is_started_again(fake_jobs, config, tmp_path):
    from flows.train import train

    fake_jobs(train="die")
    assert train(config).kind == "train"
    assert len(list((tmp_path / "train").glob("attempt-*"))) == 2


@pytest.mark.parametrize(
    ("behaviour", "error", "message"),
    [("usage", UsageError, "the source is empty"), ("fail", JobError, "the disk is full")],
)
def test_what_would_fail_again_is_not_tried_again(fake_jobs, config, tmp_path, behaviour, error, message):
    from flows.train import train

    fake_jobs(train=behaviour)
    with pytest.raises(error, match=message):
        train(config)
    assert len(list((tmp_path / "train").glob("attempt-*"))) == 1


def test_the_command_line_runs_the_whole_story(fake_jobs, tmp_path):
    """Also: Prefect itself is silent, on a first start too."""
    run_file = tmp_path / "run.toml"
    run_file.write_text('name = "fake"\n')
    result = iaca("demo", "--config", str(run_file), "--storage.root", str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for line in (
        "sound and picture 0.750 0.750 0.750 -",
        "sound masked 0.500 0.500 0.500 -",
        "picture masked 0.250 0.250 0.250 -",
        "1 rejected probe no_video",
        "1 ok decode partial",
        f"Next: open {tmp_path}/evaluate-none/report.html",
    ):
        assert line in lines
    shard = json.loads(next(tmp_path.glob("jobs/preprocess-*/config.json")).read_text())
    assert shard["source"]["manifest"] == str(tmp_path / "synthesize/manifest.csv")


def test_an_interrupted_flow_leaves_no_job(fake_jobs, tmp_path):
    fake_jobs(train="sleep")
    (tmp_path / "dataset.json").touch()
    words = ("train", "--dataset", str(tmp_path), "--storage.root", str(tmp_path))
    running = start_iaca(*words)
    grandchild = wait_for(tmp_path / "train/grandchild")
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert (tmp_path / "train/interrupted").exists()
    assert f"To resume: iaca train --dataset {tmp_path}" in output
    assert "Traceback" not in output
    assert gone(grandchild)


def is_server(process):
    return "flows.cli.temporary_server" in process.cmdline()


@pytest.mark.chaos
@pytest.mark.parametrize("ignored", [(), (signal.SIGINT,)])
def test_sigterm_to_the_whole_group_ends_like_ctrl_c(fake_jobs, tmp_path, ignored):
    """As `timeout iaca ...` sends it: to the command, and to its group, which Prefect's server must not be in."""
    fake_jobs(train="sleep")
    (tmp_path / "dataset.json").touch()
    words = ("train", "--dataset", str(tmp_path), "--storage.root", str(tmp_path))
    running = start_iaca(*words, ignored=ignored)
    grandchild = wait_for(tmp_path / "train/grandchild")
    family = psutil.Process(running.pid).children(recursive=True)
    assert any(is_server(process) for process in family)
    begin_s = time.monotonic()
    running.terminate()
    os.killpg(running.pid, signal.SIGTERM)
    output, _ = running.communicate(timeout=60)
    assert time.monotonic() - begin_s < 20
    assert running.returncode == 130
    assert (tmp_path / "train/interrupted").exists()
    assert output.splitlines()[-1] == f"interrupted; what is finished is kept. To resume: iaca {' '.join(words)}"
    assert "Traceback" not in output
    assert "Error" not in output
    assert gone(grandchild)
    assert all(gone(process.pid) for process in family)


@pytest.mark.chaos
def test_the_temporary_server_does_not_outlive_a_killed_command_line(fake_jobs, tmp_path):
    fake_jobs(train="sleep")
    (tmp_path / "dataset.json").touch()
    running = start_iaca("train", "--dataset", str(tmp_path), "--storage.root", str(tmp_path))
    wait_for(tmp_path / "train/grandchild")
    (server,) = [process for process in psutil.Process(running.pid).children() if is_server(process)]
    running.kill()
    running.wait()
    assert gone(server.pid, within_s=20)


def test_flows_are_imported_without_what_jobs_need():
    heavy = {"torch", "ray", "cv2", "av", "webdataset"}
    code = f"import flows.experiment, sys; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
