"""The Prefect server of the command line: one that is already there, or a temporary one."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.processes import iaca


def query(address, path):
    request = urllib.request.Request(f"{address}{path}", b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The API's address of `prefect server start` with a home of its own."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    prefect = Path(sys.executable).with_name("prefect")
    process = subprocess.Popen(
        [prefect, "server", "start", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}/api"
    until_s = time.monotonic() + 90
    while True:
        try:
            query(address, "/flows/filter")
            break
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None
            assert time.monotonic() < until_s
            time.sleep(0.3)
    monkeypatch.setenv("PREFECT_API_URL", address)
    yield address
    process.terminate()
    process.wait(30)


@pytest.mark.slow
def test_runs_logs_and_artifacts_are_on_the_server(fake_jobs, server, tmp_path):
    root = tmp_path / "root"
    result = iaca("experiment", "--source.videos", str(tmp_path), "--storage.root", str(root))
    assert (result.returncode, result.stderr) == (0, "")
    assert {flow["name"] for flow in query(server, "/flows/filter")} == {
        "experiment",
        "preprocess",
        "train",
        "evaluate",
    }
    assert {run["state_type"] for run in query(server, "/flow_runs/filter")} == {"COMPLETED"}
    artifacts = {
        artifact["key"]: artifact["data"] for artifact in query(server, "/artifacts/filter") if artifact["key"]
    }
    assert set(artifacts) == {"preprocess", "train", "evaluate"}
    assert str(root / "train") in artifacts["train"]
    messages = [log["message"] for log in query(server, "/logs/filter")]
    assert any(message.startswith("train: 4/4 things") for message in messages)


def test_a_missing_server_is_reported_in_one_line(fake_jobs, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "0")
    (tmp_path / "dataset.json").touch()
    result = iaca("train", "--dataset", str(tmp_path), "--storage.root", str(tmp_path))
    assert result.returncode == 1
    assert "http://127.0.0.1:9/api" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


PROFILE = """
active = "mine"
[profiles.mine]
PREFECT_API_URL = "http://127.0.0.1:9/api"
"""


@pytest.mark.parametrize("configured", ["environment", "profile", "forbidden"])
def test_no_temporary_server_is_started_where_prefect_would_start_none(configured, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    if configured == "environment":
        monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    if configured == "profile":
        (tmp_path / "profiles.toml").write_text(PROFILE)
    if configured == "forbidden":
        monkeypatch.setenv("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
    command = [sys.executable, "-m", "flows.cli.temporary_server", str(os.getpid())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_temporary_server_that_cannot_start_is_quoted(fake_jobs, tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", f"sqlite+aiosqlite:///{tmp_path}/missing/prefect.db")
    (tmp_path / "dataset.json").touch()
    result = iaca("train", "--dataset", str(tmp_path), "--storage.root", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith("error: Prefect's temporary server ended while it started; its last output:\n")
    assert "unable to open database file" in result.stderr
    assert not list(tmp_path.rglob("attempt-*"))
