"""Fixtures of all tests: places to store in, a real S3 server, a local Ray, and the optional folder of real clips."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

import hypothesis
import pytest

from tests.support.required import require_or_skip

REPOSITORY = Path(__file__).parents[1]
RGW = REPOSITORY / "infra/s3/rgw.sh"
HOME = tempfile.mkdtemp(prefix="iaca-tests-")

# Read by the libraries when they are imported and by every child process, hence set before anything else.
os.environ |= {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_HOME": f"{HOME}/prefect",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "AWS_EC2_METADATA_DISABLED": "true",  # do not wait for a cloud that is not there
    "AWS_CONFIG_FILE": os.devnull,  # nor write into the bucket of whoever runs the tests
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
    os.environ.pop(name, None)

hypothesis.settings.register_profile("shared_machine", deadline=None)
hypothesis.settings.load_profile("shared_machine")


def pytest_unconfigure():
    shutil.rmtree(HOME, ignore_errors=True)


def pytest_collection_modifyitems(items):
    for item in items:
        if {"rgw", "s3_server"} & set(item.fixturenames):
            item.add_marker("s3")


@pytest.fixture(scope="session")
def rgw(free_ports):
    """A real S3 server, Ceph's gateway: the environment variables that lead to it."""
    missing = [name for name in ("radosgw", "ceph-mon", "ceph-osd", "curl") if not shutil.which(name)]
    if missing:
        require_or_skip("s3", f"no real S3 server: {', '.join(missing)} not installed, see {RGW.name}")
    folder = tempfile.mkdtemp(prefix="iaca-rgw-")
    ports = dict(zip(("IACA_RGW_PORT", "IACA_RGW_MON_PORT"), map(str, free_ports(2)), strict=True))
    environment = {**os.environ, **ports, "IACA_RGW_DIR": folder, "IACA_RGW_OWNER": str(os.getpid())}
    try:
        started = subprocess.run([RGW, "up"], env=environment, capture_output=True, text=True, timeout=150)
        assert started.returncode == 0, started.stderr
        yield dict(line.removeprefix("export ").split("=", 1) for line in started.stdout.splitlines())
    finally:
        subprocess.run([RGW, "down"], env=environment, check=True, timeout=60)


@pytest.fixture(scope="session")
def moto():
    """An imitated S3 server, there on every machine: the environment variables that lead to it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "moto",
        "AWS_SECRET_ACCESS_KEY": "moto-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.stop()


@pytest.fixture(scope="session")
def s3_server(request):
    """The best S3 server this machine has, exported to the whole session and to its child processes."""
    installed = shutil.which("radosgw") or "s3" in os.environ.get("IACA_REQUIRE", "")
    environment = request.getfixturevalue("rgw" if installed else "moto")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@pytest.fixture
def s3_bucket(s3_server):
    """URI of a new, empty bucket, e.g. s3://test-1f2e3d."""
    yield from new_bucket(s3_server)


@pytest.fixture(params=["local", "moto", pytest.param("rgw", marks=pytest.mark.s3)])
def storage_root(request, tmp_path, monkeypatch):
    """A new, empty root: a local folder, a prefix on the imitated server, a prefix on the real one."""
    if request.param == "local":
        yield str(tmp_path / "root")
        return
    environment = request.getfixturevalue(request.param)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for bucket in new_bucket(environment):
        yield f"{bucket}/some prefix"


def new_bucket(environment):
    import s3fs

    keys = {"key": environment["AWS_ACCESS_KEY_ID"], "secret": environment["AWS_SECRET_ACCESS_KEY"]}
    client = s3fs.S3FileSystem(endpoint_url=environment["AWS_ENDPOINT_URL"], use_listings_cache=False, **keys)
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    client.mkdir(bucket)
    yield f"s3://{bucket}"
    client.rm(bucket, recursive=True)


@pytest.fixture(scope="session")
def free_ports():
    """A function of a count: that many ports of loopback that nothing listens on, all different."""

    def find(count: int) -> list[int]:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        ports = [one.getsockname()[1] for one in sockets]
        for one in sockets:
            one.close()
        return ports

    return find


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The optional folder of real clips and models beside the checkout."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no folder ../shared with real clips and models beside the checkout")
    return folder


@pytest.fixture(scope="session")
def yunet(shared_folder) -> tuple[Path, str]:
    """The YuNet face detector: its ONNX file and sha256."""
    model = shared_folder / "models/yunet_n_320.onnx"
    if not model.is_file():
        pytest.skip(f"no face detector {model.name} in ../shared/models")
    return model, hashlib.sha256(model.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def local_ray():
    """A Ray of two cores in this process, shared by all tests that ask for it."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture
def one_thread():
    """Torch on a single thread, as workers and measurements of processor time want it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
