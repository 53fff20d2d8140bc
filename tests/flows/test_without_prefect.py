"""What is complete or refused is found without Prefect: here it has a server that cannot be reached."""

import json
from dataclasses import replace

import pytest

from flows.launch import check_job, run_job
from flows.without_prefect import find_finished
from pipeline.config import load
from tests.support.processes import iaca

ALL = ("synthesize", "preprocess", "train", "evaluate")


@pytest.fixture
def unreachable(monkeypatch):
    """A Prefect server that nothing listens for."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "0")


@pytest.fixture
def demo(tmp_path):
    """Runs `iaca demo` on the fake jobs."""
    run_file = tmp_path / "run.toml"
    run_file.write_text('name = "fake"\n')
    return lambda: iaca("demo", "--config", str(run_file), "--storage.root", str(tmp_path / "root"))


def checked_configs(root):
    """The configuration of each job that was checked, by the name of its output."""
    return {path.name.removesuffix(".checked.json"): path.read_text() for path in root.glob("*.checked.json")}


def test_a_finished_command_needs_no_prefect(fake_jobs, unreachable, demo, tmp_path):
    fake_jobs(**dict.fromkeys(ALL, "finished"))
    result = demo()
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("found complete, nothing computed") == 6
    assert "picture masked" in result.stdout
    root = tmp_path / "root"
    configs = {name: json.loads(text) for name, text in checked_configs(root).items()}
    assert configs["preprocess"]["source"]["manifest"] == str(root / "synthesize/manifest.csv")
    assert configs["train"]["train"]["dataset"] == str(root / "preprocess")
    assert configs["evaluate-none"]["evaluate"]["run"] == str(root / "train")


def test_a_refused_stage_needs_no_prefect(fake_jobs, unreachable, demo):
    fake_jobs(synthesize="finished", preprocess="finished", train="refused")
    result = demo()
    assert (result.returncode, result.stderr) == (2, "error: the dataset has no labels\n")


@pytest.mark.parametrize("command", ["preprocess", "experiment", "demo"])
def test_a_plan_needs_no_prefect(fake_jobs, unreachable, tmp_path, command):
    fake_jobs(**dict.fromkeys(ALL, "done"))
    videos = [] if command == "demo" else ["--source.videos", str(tmp_path)]
    result = iaca(command, *videos, "--dry-run", "--storage.root", str(tmp_path / "root"))
    assert (result.returncode, result.stderr) == (0, "")
    assert "a plan, nothing written" in result.stdout
    assert "Training run" not in result.stdout


def test_work_needs_it(fake_jobs, unreachable, demo, tmp_path):
    fake_jobs(synthesize="finished", preprocess="finished", train="finished", evaluate="done")
    result = demo()
    assert result.returncode == 1
    assert "http://127.0.0.1:9/api" in result.stderr
    assert not list(tmp_path.rglob("evaluate-*/attempt-*")), "a check does no work"


def test_the_check_ends_at_the_first_stage_that_must_be_done(fake_jobs, tmp_path):
    fake_jobs(preprocess="finished")
    config = load(None, {"storage": {"root": str(tmp_path)}, "source": {"videos": str(tmp_path)}})
    assert find_finished("experiment", config) == []
    assert checked_configs(tmp_path).keys() == {"preprocess", "train"}


def test_a_check_leaves_the_files_of_a_job_alone(fake_jobs, tmp_path):
    """The same job may be running, whose caller has yet to read its result, or its log be wanted later."""
    config = load(None, {"storage": {"root": str(tmp_path)}, "source": {"videos": str(tmp_path)}})
    run_job("preprocess", config)
    files = {path: (path.stat().st_mtime_ns, path.read_text()) for path in tmp_path.glob("jobs/*/*")}
    assert {path.name for path in files} == {"config.json", "result.json", "job.log"}
    for behaviour in ("finished", "done"):
        fake_jobs(preprocess=behaviour)
        assert (check_job("preprocess", config) is not None) == (behaviour == "finished")
    assert {path: (path.stat().st_mtime_ns, path.read_text()) for path in tmp_path.glob("jobs/*/*")} == files


def test_plans_and_jobs_on_a_cluster_are_not_checked(fake_jobs, tmp_path):
    fake_jobs(preprocess="finished")
    config = load(None, {"storage": {"root": str(tmp_path)}, "source": {"videos": str(tmp_path)}})
    plan = config.model_copy(update={"preprocess": replace(config.preprocess, dry_run=True)})
    elsewhere = config.model_copy(update={"cluster": replace(config.cluster, address="http://127.0.0.1:9")})
    assert find_finished("preprocess", config)
    before = sorted(tmp_path.rglob("*"))
    assert find_finished("preprocess", plan) == find_finished("preprocess", elsewhere) == []
    assert sorted(tmp_path.rglob("*")) == before
