"""What users are told when a bucket is not as they think, and how much a bad network is forgiven."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from pipeline import storage
from tests.support.fake_flaky_server import FakeFlakyServer

USES = {
    "exists": storage.exists,
    "entry": storage.stat,
    "list_files": storage.list_files,
    "read_bytes": storage.read_bytes,
    "publish_bytes": lambda uri: storage.publish_bytes(b"x", uri),
    "publish": lambda uri: storage.publish(__file__, uri),
    "create_if_absent": lambda uri: storage.create_if_absent(b"x", uri),
    "local_copy": lambda uri: storage.local_copy(uri, "unused"),
    "delete": storage.delete,
}
USE_IN_CHILD = "import sys; from pipeline import storage; storage.create_if_absent(b'x', sys.argv[1])"
FORK = """
import os, sys
from pipeline import storage
storage.publish_bytes(b"from the parent", sys.argv[1] + "/parent")
if (child := os.fork()) == 0:
    assert storage.read_bytes(sys.argv[1] + "/parent") == b"from the parent"
    storage.publish_bytes(b"from the child", sys.argv[1] + "/child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert storage.read_bytes(sys.argv[1] + "/child") == b"from the child"
"""


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_missing_bucket_is_named(s3_server, use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"no bucket 'never-made' at http://127.*s3://never-made/runs/a"
    ) as raised:
        use("s3://never-made/runs/a")
    assert "\n" not in str(raised.value)


def test_a_copy_into_a_missing_bucket_names_that_one(s3_bucket):
    storage.publish_bytes(b"x", f"{s3_bucket}/a")
    with pytest.raises(FileNotFoundError, match="no bucket 'never-made'"):
        storage.copy(f"{s3_bucket}/a", "s3://never-made/a")


@pytest.mark.parametrize(
    ("environment", "output"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "canary-secret"}, "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the policy"),
        ({"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "canary-secret"}, "refuses access to"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ],
    ids=["wrong secret", "unknown user", "no keys"],
)
def test_wrong_keys_are_explained(rgw, s3_bucket, environment, output, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    uri = f"{s3_bucket}/runs/champion.json"
    child = subprocess.run([sys.executable, "-c", USE_IN_CHILD, uri], capture_output=True, text=True, timeout=60)
    message = child.stderr.splitlines()[-1]
    assert message.startswith("pipeline.storage.errors.AccessDeniedError: ")
    assert uri in message
    assert output in message
    assert "canary-secret" not in child.stderr


def test_a_forked_child_has_its_own_connections(s3_bucket):
    subprocess.run([sys.executable, "-c", FORK, s3_bucket], check=True, timeout=60)


def test_no_server_is_an_answer_within_a_minute(monkeypatch, refused_endpoint):
    started_s = time.monotonic()
    with pytest.raises(
        ConnectionError, match=rf"{refused_endpoint} for s3://bucket/x.*check AWS_ENDPOINT_URL"
    ) as raised:
        storage.exists("s3://bucket/x")
    assert time.monotonic() - started_s < 60
    assert "\n" not in str(raised.value)


@pytest.fixture
def refused_endpoint(monkeypatch):
    with FakeFlakyServer() as server:
        endpoint = server.endpoint
    point_to(endpoint, monkeypatch)
    return endpoint


@pytest.fixture
def flaky(monkeypatch):
    with FakeFlakyServer() as server:
        point_to(server.endpoint, monkeypatch)
        yield server


def point_to(endpoint: str, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anyone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")


@pytest.mark.parametrize("fault", ["503", "500", "reset", "short"])
def test_two_faults_are_forgiven_in_reading(flaky, fault, tmp_path):
    flaky.objects["/bucket/shard.tar"] = bytes(range(256)) * 1000
    flaky.faults = [fault, fault]
    assert storage.read_bytes("s3://bucket/shard.tar", 256, 512) == bytes(range(256)) * 2
    assert len(flaky.requests) == 3
    flaky.faults = ["", fault]
    copy = storage.local_copy("s3://bucket/shard.tar", tmp_path)
    assert copy.read_bytes() == flaky.objects["/bucket/shard.tar"]


@pytest.mark.parametrize("fault", ["503", "reset", "lost"])
def test_two_faults_are_forgiven_in_writing(flaky, fault, tmp_path):
    (tmp_path / "shard.tar").write_bytes(b"shard" * 1000)
    flaky.faults = [fault, fault]
    storage.publish(tmp_path / "shard.tar", "s3://bucket/shard.tar")
    assert flaky.objects == {"/bucket/shard.tar": b"shard" * 1000}
    assert flaky.requests == ["PUT /bucket/shard.tar"] * 3


def test_patience_ends(flaky):
    flaky.faults = ["500"] * 100
    with pytest.raises(OSError, match="failed at writing 1 bytes to s3://bucket/x: InternalError"):
        storage.publish_bytes(b"x", "s3://bucket/x")
    assert flaky.requests == ["PUT /bucket/x"] * 4
    assert flaky.objects == {}


def test_a_refusal_is_not_repeated(flaky):
    flaky.faults = ["403"] * 100
    with pytest.raises(PermissionError, match="AccessDenied"):
        storage.read_bytes("s3://bucket/x", 0, 10)
    assert len(flaky.requests) == 1


def test_a_creator_that_lost_its_answer_finds_its_own_content(flaky):
    flaky.faults = ["lost"]
    assert not storage.create_if_absent(b"mine", "s3://bucket/dataset.json")
    assert storage.read_bytes("s3://bucket/dataset.json") == b"mine", "so the caller compares, and has won"
