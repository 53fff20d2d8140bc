"""The job that fetches a model of somebody else: downloaded, checked against its manifest, and put below the root."""

from __future__ import annotations

import hashlib
import http.client
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import IO

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.config.model_files import ModelFile, model_file, stored_model_uri
from pipeline.config.uris import WEB
from pipeline.dataset.format import shards
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult

TIMEOUT_S = 30.0  # for the connection, and for each read
CHUNK_BYTES = 1 << 20
_WITHOUT_NETWORK = "where there is no network, --uri takes a copy of the file, and checks its sha256 as well"
MAX_SIZES = 100  # a file larger than this many times the expected one is not read to its end


class FetchError(RuntimeError):
    """A model could not be fetched, or what was fetched is another file."""


def run(config: Config) -> JobResult:
    """Fetch `fetch_model.name` unless it is there already with the sha256 of its manifest.

    Raises:
        UsageError: `fetch_model.uri` names no file.
        FetchError: the server cannot be reached or has no such file, or the sha256 is another one.
    """
    begin = perf_counter()
    model = model_file(config.fetch_model.name)
    uri = stored_model_uri(model, config.storage.root)
    found_sha256 = shards.sha256_of_uri(uri) if storage.exists(uri) else ""
    is_complete = found_sha256 == model.sha256
    if not is_complete:
        with tempfile.TemporaryDirectory(prefix="iaca-model-") as folder:
            path = _fetch(config.fetch_model.uri or model.uri, model, Path(folder))
            storage.publish(path, uri)
    lines = [f"{model.size_bytes:,} bytes, sha256 {model.sha256}, licence {model.licence}, from {model.uri}"]
    if found_sha256 and not is_complete:
        lines.append(f"the file there had sha256 {found_sha256} and is replaced")
    return JobResult("fetch_model", uri, is_complete, perf_counter() - begin, {}, tuple(lines))


def _fetch(source: str, model: ModelFile, folder: Path) -> Path:
    """Copy a model from a web address or a file into the folder, and check it."""
    path, digest, num_bytes = folder / model.name, hashlib.sha256(), 0
    with _opened(source, folder) as stream, path.open("wb") as file:
        while chunk := stream.read(CHUNK_BYTES):
            num_bytes += len(chunk)
            if num_bytes > MAX_SIZES * model.size_bytes:
                limit = f"it has over {num_bytes:,} bytes, the model {model.size_bytes:,}"
                raise FetchError(f"{source} is not {model.name}: {limit}")
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != model.sha256:
        raise FetchError(
            f"{source} has sha256 {digest.hexdigest()} ({num_bytes:,} bytes), but {model.name} has {model.sha256} "
            f"({model.size_bytes:,} bytes): nothing is stored. A file of another version is used in place with "
            "--faces.model_uri URI --faces.model_sha256 DIGEST"
        )
    return path


@contextmanager
def _opened(source: str, folder: Path) -> Iterator[IO[bytes] | http.client.HTTPResponse]:
    """Open a web address, or a file that the storage knows; a fault of the network is a FetchError."""
    if not source.startswith(WEB):
        with _local_copy(source, folder).open("rb") as stream:
            yield stream
        return
    try:
        with urllib.request.urlopen(source, timeout=TIMEOUT_S) as response:  # noqa: S310 - the scheme is checked above
            yield response
    except urllib.error.HTTPError as error:
        raise FetchError(f"{source}: the server answers {error.code} {error.reason}; {_WITHOUT_NETWORK}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        cause = getattr(error, "reason", error)
        raise FetchError(f"{source} cannot be downloaded ({cause}); {_WITHOUT_NETWORK}") from error


def _local_copy(source: str, folder: Path) -> Path:
    try:
        return storage.local_copy(source, folder)
    except (OSError, ValueError) as error:
        raise UsageError(f"fetch_model.uri {source} cannot be read: {error}") from error


if __name__ == "__main__":
    job_process.main("fetch_model", run)
