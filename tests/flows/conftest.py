"""Fake jobs in place of the real ones, and a Prefect that is silent and patient."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Prefect's temporary server logs its end when pytest has closed the output.
os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"  # on a machine that others use, too


@pytest.fixture
def fake_jobs(monkeypatch):
    """Jobs that only pretend; what they do is set per kind: fake_jobs(preprocess="fail")."""
    paths = [ROOT, os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(path) for path in paths if path))
    monkeypatch.setenv("IACA_JOBS", "tests.support.fake_jobs")

    def behave(**behaviour):
        monkeypatch.setenv("FAKE_JOB", ",".join(f"{kind}={what}" for kind, what in behaviour.items()))

    behave()
    return behave
