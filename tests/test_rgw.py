"""The project's own S3 server for tests: it ends with its owner, and reports why it does not start."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

RGW = Path(__file__).parents[1] / "infra/s3/rgw.sh"


@pytest.fixture
def settings(rgw, free_ports, tmp_path):
    """Environment of a second server beside the session's, stopped at the end."""
    ports = dict(zip(("IACA_RGW_PORT", "IACA_RGW_MON_PORT"), map(str, free_ports(2)), strict=True))
    environment = {**os.environ, **ports, "IACA_RGW_DIR": str(tmp_path / "rgw")}
    yield environment
    subprocess.run([RGW, "down"], env=environment, check=True)


@pytest.mark.chaos
def test_the_server_ends_with_its_owner(settings):
    owner = subprocess.Popen(["sleep", "60"])
    try:
        environment = {**settings, "IACA_RGW_OWNER": str(owner.pid)}
        done = subprocess.run([RGW, "up"], env=environment, check=True, capture_output=True, text=True, timeout=120)
        endpoint = f"http://127.0.0.1:{settings['IACA_RGW_PORT']}"
        assert f"export AWS_ENDPOINT_URL={endpoint}\n" in done.stdout
        assert urllib.request.urlopen(endpoint).status == 200
    finally:
        owner.kill()
        owner.wait()
    end_s = time.monotonic() + 30
    while Path(settings["IACA_RGW_DIR"]).exists():
        assert time.monotonic() < end_s, "the server outlived its owner"
        time.sleep(0.1)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(endpoint)


def test_a_taken_port_is_named(settings):
    taken = socket.create_server(("127.0.0.1", int(settings["IACA_RGW_MON_PORT"])))
    with taken:
        done = subprocess.run([RGW, "up"], env=settings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert f"unable to bind to v2:127.0.0.1:{settings['IACA_RGW_MON_PORT']}" in done.stderr
    assert not Path(settings["IACA_RGW_DIR"]).exists(), "a failed start leaves nothing behind"


def test_other_commands_are_rejected():
    done = subprocess.run([RGW, "restart"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"usage: {RGW} up|down\n")
