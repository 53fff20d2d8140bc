"""A model is fetched once, over a real connection, and only with the bytes that its manifest says."""

import functools
import hashlib
import http.server
import threading
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from pipeline import storage
from pipeline.config import UsageError, dataset_fingerprint, load, model_files, require_detector
from pipeline.jobs import fetch_model
from pipeline.jobs.workers.shard_builder import load_detector

CONTENT = b"the weights of a detector " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.SimpleHTTPRequestHandler):
    """A folder's files; the address /short promises more bytes than it sends."""

    requests: ClassVar[list[str]] = []

    def do_GET(self):
        self.requests.append(self.path)
        if self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:100])
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """The address of a server whose only good file is /good.onnx."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served/good.onnx").write_bytes(CONTENT)
    (tmp_path / "served/other.onnx").write_bytes(CONTENT + b"!")
    (tmp_path / "served/huge.onnx").write_bytes(bytes(101 * len(CONTENT)))
    Handler.requests.clear()
    handler = functools.partial(Handler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(autouse=True)
def manifest(request, tmp_path, monkeypatch):
    """The manifest of a small model that the test's own server has."""
    monkeypatch.setenv("no_proxy", "*")
    address = request.getfixturevalue("server") if "server" in request.fixturenames else "http://127.0.0.1:9"
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/yunet.toml").write_text(
        f'uri = "{address}/good.onnx"\nsha256 = "{SHA256}"\nsize_bytes = {len(CONTENT)}\n'
        'licence = "MIT"\nextension = ".onnx"\n'
    )
    monkeypatch.setattr(model_files, "MANIFESTS", tmp_path / "manifests")


def config_of(root, uri="", **faces):
    values = {"storage": {"root": str(root)}, "fetch_model": {"uri": uri}}
    return load(None, {**values, "faces": {"detector": "yunet", **faces}})


def test_it_is_downloaded_once_and_then_found(server, tmp_path):
    config = config_of(tmp_path / "root")
    first, again = fetch_model.run(config), fetch_model.run(config)
    assert storage.read_bytes(first.output_uri) == CONTENT
    assert (first.skipped, again.skipped) == (False, True)
    assert Handler.requests == ["/good.onnx"]
    assert SHA256 in first.lines[0]
    assert "licence MIT" in first.lines[0]


def test_a_damaged_one_is_fetched_again(server, tmp_path):
    config = config_of(tmp_path / "root")
    uri = fetch_model.run(config).output_uri
    storage.publish_bytes(CONTENT[:-1], uri)
    result = fetch_model.run(config)
    assert storage.read_bytes(uri) == CONTENT
    assert not result.skipped
    damaged = hashlib.sha256(CONTENT[:-1]).hexdigest()
    assert f"the file there had sha256 {damaged} and is replaced" in result.lines
    assert fetch_model.run(config).skipped
    assert Handler.requests == ["/good.onnx"] * 2


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(CONTENT[:-1]), lambda path: path.unlink()])
def test_a_message_on_a_damaged_or_missing_one_names_the_command(server, tmp_path, damage):
    config = config_of(tmp_path / "root")
    uri = fetch_model.run(config).output_uri
    found = require_detector(config)
    damage(Path(uri))
    with pytest.raises(UsageError, match=f"`iaca fetch-model yunet --storage.root {tmp_path}/root` fetches it again"):
        load_detector(found)
    elsewhere = tmp_path / "copy.onnx"
    elsewhere.write_bytes(CONTENT)
    damage(elsewhere)
    for faces in ({"model_uri": str(elsewhere), "model_sha256": SHA256}, {"model_uri": uri, "model_sha256": "ab" * 32}):
        with pytest.raises(UsageError, match=r"faces\.model_uri ") as caught:
            load_detector(config_of(tmp_path / "root", **faces))
        assert "fetch-model" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/other.onnx", f"has sha256 {hashlib.sha256(CONTENT + b'!').hexdigest()} .*but yunet has {SHA256}"),
        ("/short", rf"has sha256 \w+ \(100 bytes\), but yunet has {SHA256}"),
        ("/huge.onnx", "is not yunet: it has over"),
        ("/none.onnx", "none.onnx: the server answers 404 .*--uri takes a copy of the file"),
    ],
)
def test_what_is_another_file_is_not_stored(server, tmp_path, path, message):
    config = config_of(tmp_path / "root", server + path)
    with pytest.raises(fetch_model.FetchError, match=message):
        fetch_model.run(config)
    assert storage.list_files(config.storage.root) == []


def test_without_network_it_takes_a_copy(tmp_path):
    with pytest.raises(fetch_model.FetchError, match=r"good.onnx cannot be downloaded \(.*refused\); .*--uri takes"):
        fetch_model.run(config_of(tmp_path / "root"))
    with pytest.raises(UsageError, match=r"fetch_model\.uri .*/copy\.onnx cannot be read"):
        fetch_model.run(config_of(tmp_path / "root", f"{tmp_path}/copy.onnx"))
    (tmp_path / "copy.onnx").write_bytes(CONTENT)
    result = fetch_model.run(config_of(tmp_path / "root", f"{tmp_path}/copy.onnx"))
    assert storage.read_bytes(result.output_uri) == CONTENT


def test_yunet_finds_it_below_the_root_and_the_configuration_records_it(server, tmp_path):
    config = config_of(tmp_path / "root")
    with pytest.raises(UsageError, match=f"`iaca fetch-model yunet --storage.root {tmp_path}/root` puts it there"):
        require_detector(config)
    uri = fetch_model.run(config).output_uri
    found = require_detector(config)
    assert (found.faces.model_uri, found.faces.model_sha256) == (uri, SHA256)
    given = config_of("/elsewhere", model_uri="/a/copy.onnx", model_sha256=SHA256)
    assert require_detector(given) == given
    assert dataset_fingerprint(found, {}, {}) == dataset_fingerprint(given, {}, {})
    other = replace(config.faces, model_sha256="ab" * 32)
    with pytest.raises(UsageError, match=r"needs faces\.model_uri"):
        require_detector(config.model_copy(update={"faces": other}))


def test_it_is_put_into_a_bucket_and_found_there(server, s3_bucket):
    config = config_of(f"{s3_bucket}/root")
    uri = fetch_model.run(config).output_uri
    assert uri == f"{s3_bucket}/root/models/yunet-{SHA256[:12]}.onnx"
    assert storage.read_bytes(uri) == CONTENT
    assert require_detector(config).faces.model_uri == uri


def test_a_worker_loads_what_was_fetched(yunet, tmp_path):
    model, digest = yunet
    manifest = f'uri = "{model}"\nsha256 = "{digest}"\nsize_bytes = {model.stat().st_size}\n'
    (tmp_path / "manifests/yunet.toml").write_text(manifest + 'licence = "-"\nextension = ".onnx"\n')
    config = config_of(tmp_path / "root")
    fetch_model.run(config)
    assert load_detector(require_detector(config)) is not None


def test_the_detectors_that_need_no_model_are_left_as_they_are(tmp_path):
    config = config_of(tmp_path, detector="haar")
    assert require_detector(config) == config
