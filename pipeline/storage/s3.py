"""Objects of an S3-compatible server, written by whole-object uploads that appear at once or not at all."""

from __future__ import annotations

import errno
import mimetypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.storage.entry import Entry

if TYPE_CHECKING:
    import s3fs

_ATTEMPTS = 4  # of one request, by botocore, with exponential backoff and jitter
_REPEATS = 3  # of an operation, by s3fs: for a body that broke off, or a SlowDown that outlasted the attempts
_TIMEOUTS_S = {"connect_timeout": 5, "read_timeout": 30}
_LOST = ("PreconditionFailed", "ConditionalRequestConflict")


def filesystem() -> s3fs.S3FileSystem:
    """The client of this process: s3fs keeps one per process id, so a fork never shares sockets with its parent."""
    import s3fs

    client = s3fs.S3FileSystem(
        # Part of the key under which s3fs keeps the client; None leaves the choice to the AWS configuration.
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"),
        use_listings_cache=False,  # another worker may have written since
        config_kwargs={"retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS}, **_TIMEOUTS_S},
    )
    client.retries = _REPEATS
    return client


def exists(path: str) -> bool:
    """Whether there is an object, or any below the prefix."""
    try:
        filesystem().info(path)
    except FileNotFoundError as error:
        if _code(error) == "NoSuchBucket":
            raise
        return False
    return True


def entry(path: str) -> Entry:
    """The object at `path`."""
    info = filesystem().info(path)
    if info["type"] != "file":
        raise IsADirectoryError(path)
    return _entry(info)


def list_files(path: str) -> list[Entry]:
    """The objects below `path`, without the empty ones that some tools write to mark a folder."""
    found = filesystem().find(path, detail=True).values()
    return [_entry(info) for info in found if info["type"] == "file" and not info["name"].endswith("/")]


def _entry(info: dict[str, Any]) -> Entry:
    return Entry(f"s3://{info['name']}", info["size"], info["ETag"].strip('"'))


def read_bytes(path: str, start: int, size: int | None) -> bytes:
    """A range of the object."""
    if size == 0:
        return b""
    bounds = {} if start == 0 and size is None else {"start": start, "end": None if size is None else start + size}
    try:
        return filesystem().cat_file(path, **bounds)
    except OSError as error:
        if _code(error) == "InvalidRange":  # it starts past the end
            return b""
        raise


def publish(source: str, path: str) -> None:
    """Upload the finished file `source`."""
    filesystem().put_file(source, path, **_content_type(path))


def publish_bytes(data: bytes, path: str) -> None:
    """Upload `data`."""
    filesystem().pipe_file(path, data, **_content_type(path))


def create_if_absent(data: bytes, path: str) -> bool:
    """Upload `data` unless something is there (If-None-Match)."""
    try:
        filesystem().pipe_file(path, data, mode="create", **_content_type(path))
    except FileExistsError:
        return False
    except OSError as error:
        if _code(error) in _LOST:  # servers differ in how they say so
            return False
        raise
    return True


def copy(source: str, path: str) -> None:
    """Copy on the server."""
    filesystem().cp_file(source, path)


def delete(path: str) -> None:
    """Remove the object, if it is there."""
    filesystem().rm_file(path)


def download(path: str, local_path: str) -> None:
    """Write the object to `local_path`."""
    filesystem().get_file(path, local_path)


def _content_type(path: str) -> dict[str, str]:
    return {"ContentType": mimetypes.guess_type(path)[0] or "application/octet-stream"}


def _code(error: BaseException | None) -> str:
    """The S3 error code behind an exception, "" when there is none."""
    while error is not None:
        if isinstance(response := getattr(error, "response", None), dict):
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__ or error.__context__
    return ""


@contextmanager
def explained(path: str, size: int = 0) -> Iterator[None]:
    """Let an error say in one line which object, and what to do about it; `size` is what was to be written."""
    import botocore.exceptions as aws

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
    uri, bucket = f"s3://{path}", path.partition("/")[0]
    try:
        yield
    except FileNotFoundError as error:
        if _code(error) == "NoSuchBucket":
            raise FileNotFoundError(f"there is no bucket {bucket!r} at {endpoint} for {uri}: create it") from error
        raise FileNotFoundError(f"there is no object {uri} at {endpoint}") from error
    except IsADirectoryError as error:
        raise IsADirectoryError(f"{uri} is a prefix of objects where one object is needed") from error
    except PermissionError as error:
        hint = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the policy of the bucket"
        raise PermissionError(f"{endpoint} refuses access to {uri} ({_code(error) or error}): {hint}") from error
    except (aws.NoCredentialsError, aws.PartialCredentialsError) as error:
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise PermissionError(f"no complete credentials for {uri}: {hint}") from error
    except aws.ParamValidationError as error:
        raise ValueError(f"{uri} is no valid S3 name: {' '.join(str(error).split())}") from error
    except (aws.HTTPClientError, aws.ConnectionError) as error:
        raise ConnectionError(f"no answer from {endpoint} for {uri} ({error}): check AWS_ENDPOINT_URL") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(error.errno, f"no space left on this machine for a copy of {uri}") from error
        what = f"writing {size} bytes to" if size else "using"
        raise OSError(
            error.errno, f"{endpoint} failed at {what} {uri}: {_code(error)} {error.strerror or error}"
        ) from error
