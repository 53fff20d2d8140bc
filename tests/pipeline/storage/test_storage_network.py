"""A real S3 server behind a bad network: what is forgiven, when patience ends, and that nothing is left half-done."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import s3fs

from pipeline import storage
from tests.support.fake_faulty_proxy import FakeFaultyProxy, Fault

METHODS = ("HEAD", "GET", "PUT", "POST", "DELETE")
LARGE = bytes(range(256)) * 70_000  # 17 MiB, three parts
USES = {
    "exists": storage.exists,
    "entry": storage.stat,
    "list_files": storage.list_files,
    "read_bytes": storage.read_bytes,
    "a range": lambda uri: storage.read_bytes(uri, 1, 2),
    "publish_bytes": lambda uri: storage.publish_bytes(b"x", uri),
    "create_if_absent": lambda uri: storage.create_if_absent(b"x", uri),
    "copy": lambda uri: storage.copy(uri, uri + "2"),
    "delete": storage.delete,
}

DOWNLOAD = """
import pathlib, sys
from pipeline import storage
try:
    storage.local_copy(sys.argv[2], sys.argv[1])
except OSError as error:
    print(error)
print(sum(path.is_file() for path in pathlib.Path(sys.argv[1]).rglob("*")), "files left")
"""


class Server:
    """The server itself, past the proxy."""

    def __init__(self, environment, bucket):
        keys = {"key": environment["AWS_ACCESS_KEY_ID"], "secret": environment["AWS_SECRET_ACCESS_KEY"]}
        endpoint = environment["AWS_ENDPOINT_URL"]
        self.client = s3fs.S3FileSystem(
            endpoint_url=endpoint, use_listings_cache=False, skip_instance_cache=True, **keys
        )
        self.bucket = bucket.removeprefix("s3://")

    def write(self, key, data):
        self.client.pipe_file(f"{self.bucket}/{key}", data)

    def read(self, key):
        return self.client.cat_file(f"{self.bucket}/{key}")

    def has(self, key):
        return self.client.exists(f"{self.bucket}/{key}")

    def unfinished(self):
        return self.client.list_multipart_uploads(self.bucket)


@pytest.fixture
def server(s3_server, s3_bucket):
    return Server(s3_server, s3_bucket)


@pytest.fixture
def proxy(s3_server, monkeypatch):
    with FakeFaultyProxy(s3_server["AWS_ENDPOINT_URL"]) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        yield between


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setenv("IACA_STORAGE_TIMEOUT_S", "0.5")


@pytest.fixture
def large(tmp_path):
    (tmp_path / "large.tar").write_bytes(LARGE)
    return tmp_path / "large.tar"


@pytest.mark.parametrize("kind", [pytest.param("silent", marks=pytest.mark.slow), "reset"])
def test_a_server_that_fails_for_a_moment_is_forgiven(server, proxy, s3_bucket, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("IACA_STORAGE_TIMEOUT_S", "2")
    server.write("a", b"content")
    proxy.faults = [Fault(kind, method, words) for method in METHODS for words in ("list-type", "/a")]
    uri = f"{s3_bucket}/a"
    assert storage.read_bytes(uri, 0, 3) == b"con"
    assert [found.uri for found in storage.list_files(s3_bucket)] == [uri]
    assert storage.local_copy(uri, tmp_path).read_bytes() == b"content"
    storage.publish_bytes(b"newer", uri)
    assert server.read("a") == b"newer"
    assert not storage.create_if_absent(b"other", uri)
    storage.delete(uri)
    assert not server.has("a")
    assert not [fault for fault in proxy.faults if fault.times and fault.method != "POST" and fault.text == "/a"]


def test_patience_with_a_silent_server_ends(server, proxy, impatient, s3_bucket, tmp_path):
    """Four attempts of half a second, whatever is asked; everything at once, as it takes its time."""
    server.write("a", b"content")
    proxy.faults = [Fault("silent", method, times=1000) for method in METHODS]
    uses = {**USES, "local_copy": lambda uri: storage.local_copy(uri, tmp_path)}
    storage.s3.filesystem().connect()
    with ThreadPoolExecutor(len(uses)) as pool:
        ends = dict(zip(uses, pool.map(lambda use: end_of(use, f"{s3_bucket}/a"), uses.values()), strict=True))
    for name, (message, seconds) in ends.items():
        assert f"{s3_bucket}/a" in message, name
        assert proxy.endpoint in message, name
        assert "\n" not in message, name
        assert seconds < 8, name
    assert len(proxy.requests) <= 4 * len(uses)
    assert server.read("a") == b"content"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def end_of(use, uri):
    begin_s = time.monotonic()
    with pytest.raises((ConnectionError, TimeoutError)) as raised:
        use(uri)
    return str(raised.value), time.monotonic() - begin_s


@pytest.mark.parametrize("size", [None, pytest.param(60_000, marks=pytest.mark.slow)])
def test_a_server_that_only_drips_times_out(server, proxy, impatient, s3_bucket, size, tmp_path):
    server.write("slow", b"x" * 64_000)  # more than a minute, with never a second without a byte
    proxy.faults = [Fault("drip", "GET", "/slow", times=100)]
    begin_s = time.monotonic()
    with pytest.raises(TimeoutError, match=rf"less than 64000 bytes a second: gave up {s3_bucket}/slow"):
        storage.read_bytes(f"{s3_bucket}/slow", 0, size)
    assert time.monotonic() - begin_s < 8
    assert proxy.num_requests("GET", "/slow") == 1


@pytest.mark.slow
def test_a_server_that_accepts_nothing_times_out(server, proxy, impatient, s3_bucket, large, monkeypatch):
    monkeypatch.setattr(storage.s3, "SLOWEST_BYTES_PER_S", 64_000_000)
    proxy.faults = [Fault("silent", "PUT", "partNumber=2", times=100)]
    with pytest.raises((TimeoutError, ConnectionError), match=f"{s3_bucket}/large"):
        storage.publish(large, f"{s3_bucket}/large")
    assert not server.has("large")
    assert server.unfinished() == []


@pytest.mark.parametrize("kinds", [["error in 200"], ["reset"], ["lost"], ["lost", "gone"]], ids=", ".join)
def test_a_completion_that_fails_is_forgiven(server, proxy, s3_bucket, large, kinds):
    proxy.faults = [Fault(kind, "POST", "uploadId=") for kind in kinds]
    storage.publish(large, f"{s3_bucket}/large")
    assert not any(fault.times for fault in proxy.faults)
    assert server.read("large") == LARGE
    assert server.unfinished() == []


@pytest.mark.parametrize(
    ("fault", "output"),
    [
        (Fault("error in 200", "POST", "uploadId=", times=100), "failed at writing .* large: InternalError"),
        pytest.param(
            Fault("reset", "PUT", "partNumber=2", times=100), "no answer from .* large", marks=pytest.mark.slow
        ),
    ],
    ids=["completion", "part"],
)
def test_an_upload_that_fails_is_aborted_and_changes_nothing(server, proxy, s3_bucket, large, fault, output):
    server.write("large", b"old")
    proxy.faults = [fault]
    with pytest.raises(OSError, match=output.replace(" large", f" {s3_bucket}/large")) as raised:
        storage.publish(large, f"{s3_bucket}/large")
    assert "\n" not in str(raised.value)
    assert server.read("large") == b"old"
    assert server.unfinished() == []
    assert proxy.num_requests("DELETE", "uploadId=") == 1


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan"])
def test_a_timeout_that_is_none_is_refused(given, monkeypatch):
    monkeypatch.setenv("IACA_STORAGE_TIMEOUT_S", given)
    with pytest.raises(ValueError, match=f"IACA_STORAGE_TIMEOUT_S is '{given}': give seconds above 0"):
        storage.exists("s3://bucket/x")


def test_a_creator_that_lost_the_response_finds_its_own_content(server, proxy, s3_bucket):
    proxy.faults = [Fault("lost", "PUT", "/dataset.json")]
    assert not storage.create_if_absent(b"mine", f"{s3_bucket}/dataset.json")
    assert server.read("dataset.json") == b"mine", "so the caller compares, and has won"


@pytest.mark.slow
def test_a_large_download_survives_broken_connections(server, proxy, s3_bucket, tmp_path):
    server.write("large", LARGE)
    proxy.faults = [Fault("reset", "GET", "/large", times=2), Fault("short", "GET", "/large", times=2)]
    assert storage.local_copy(f"{s3_bucket}/large", tmp_path).read_bytes() == LARGE
    assert [fault.times for fault in proxy.faults] == [0, 0]


def test_a_download_is_of_one_version(server, s3_server, s3_bucket, tmp_path, monkeypatch):
    server.write("large", LARGE)
    newer = LARGE[::-1]

    class Replacing(FakeFaultyProxy):
        def record(self, method, path):
            if method == "GET" and self.num_requests("GET") == 1:  # between the first part and the second
                server.write("large", newer)
            return super().record(method, path)

    with Replacing(s3_server["AWS_ENDPOINT_URL"]) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        assert storage.local_copy(f"{s3_bucket}/large", tmp_path).read_bytes() == newer
    assert between.num_requests("GET") == 6


def test_an_object_that_is_gone_since_it_was_listed_is_named(server, proxy, s3_bucket, tmp_path):
    server.write("videos/a.mp4", b"film")
    (listed,) = storage.list_files(f"{s3_bucket}/videos")
    server.client.rm_file(f"{server.bucket}/videos/a.mp4")
    for use in (storage.read_bytes, storage.stat, lambda uri: storage.local_copy(uri, tmp_path)):
        with pytest.raises(FileNotFoundError, match=f"there is no object {s3_bucket}/videos/a.mp4") as raised:
            use(listed.uri)
        assert "\n" not in str(raised.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_full_disk_under_a_download_names_the_object(s3_server, s3_bucket, tmp_path):
    storage.publish_bytes(b"x" * 5_000_000, f"{s3_bucket}/film.mp4")
    (tmp_path / "disk").mkdir()
    script = f'mount -t tmpfs -o size=1m none "$1" && exec {sys.executable} -c "$0" "$1" "$2"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, DOWNLOAD]
    command += [tmp_path / "disk", f"{s3_bucket}/film.mp4"]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "unshare" in child.stderr:
        pytest.skip("no user namespaces here, so no small disk to fill")
    assert child.stdout.splitlines() == [
        f"[Errno 28] no space left on this machine for a copy of {s3_bucket}/film.mp4",
        "0 files left",
    ], child.stderr


@pytest.mark.slow
def test_large_copies_are_made_in_parts(server, proxy, s3_bucket, monkeypatch):
    monkeypatch.setattr(storage.s3.multipart, "COPY_BYTES", 8 << 20)
    server.write("large", LARGE)
    storage.copy(f"{s3_bucket}/large", f"{s3_bucket}/a copy")
    assert server.read("a copy") == LARGE
    proxy.faults = [Fault("reset", "PUT", "partNumber=3", times=100)]
    with pytest.raises(ConnectionError, match=f"{s3_bucket}/none"):
        storage.copy(f"{s3_bucket}/large", f"{s3_bucket}/none")
    assert not server.has("none")
    assert server.unfinished() == []


def test_a_large_copy_with_a_late_response_to_its_completion_succeeds(server, proxy, s3_bucket, monkeypatch):
    monkeypatch.setattr(storage.s3.multipart, "COPY_BYTES", 8 << 20)
    server.write("large", LARGE)
    proxy.faults = [Fault(kind, "POST", "uploadId=") for kind in ("lost", "gone")]
    storage.copy(f"{s3_bucket}/large", f"{s3_bucket}/a copy")
    assert not any(fault.times for fault in proxy.faults)
    assert server.read("a copy") == LARGE
    assert server.unfinished() == []
