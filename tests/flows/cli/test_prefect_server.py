"""The same command line against a Prefect server that is already there."""

import json
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
