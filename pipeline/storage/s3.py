"""Objects of an S3-compatible server, written by whole-object uploads that appear at once or not at all.

Timeouts: a request is sent up to four times, the server has IACA_STORAGE_TIMEOUT_S (30) each time to begin its answer,
and the whole transfer must not be slower than `SLOWEST_BYTES_PER_S`.
"""

from __future__ import annotations

import errno
import io
import mimetypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pipeline.storage import multipart
from pipeline.storage.errors import (
    AccessDeniedError,
    FileMissingError,
    IsFolderError,
    NoSpaceError,
    StorageError,
    StorageTimeoutError,
    UnreachableError,
)
from pipeline.storage.stored_file import StoredFile

if TYPE_CHECKING:
    import s3fs
    from botocore.exceptions import BotoCoreError

SLOWEST_BYTES_PER_S = 64_000  # a transfer that is slower is given up
_ATTEMPTS = 4  # of one request, by botocore, with exponential backoff and jitter
_REPEATS = 3  # of an operation, by s3fs: for a body that broke off, or a SlowDown that outlasted the attempts
_CONNECT_S = 5.0
_ALREADY_THERE = ("PreconditionFailed", "ConditionalRequestConflict")


def filesystem() -> s3fs.S3FileSystem:
    """The client of this process: s3fs keeps one per process id, so a fork never shares sockets with its parent."""
    import s3fs

    timeout_s = _timeout_s()
    timeouts = {"connect_timeout": min(_CONNECT_S, timeout_s), "read_timeout": timeout_s}
    client = s3fs.S3FileSystem(
        # Part of the key under which s3fs keeps the client; None leaves the choice to the AWS configuration.
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"),
        use_listings_cache=False,  # another worker may have written since
        config_kwargs={"retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS}, **timeouts},
    )
    client.retries = _REPEATS
    return client


def _timeout_s() -> float:
    seconds = os.environ.get("IACA_STORAGE_TIMEOUT_S", "30")
    if re.fullmatch(r"\d+(\.\d+)?", seconds) and float(seconds) > 0:
        return float(seconds)
    raise ValueError(f"IACA_STORAGE_TIMEOUT_S is {seconds!r}: give seconds above 0, such as 30")


def _deadline_s(size: int = 0) -> float:
    """The longest that an operation which moves `size` bytes may take with all its attempts.

    A server that sends a byte now and then never exceeds the timeout of a single read.
    """
    return _ATTEMPTS * _timeout_s() + size / SLOWEST_BYTES_PER_S


def _request(method: str, size: int = 0, **fields: Any) -> dict[str, Any]:
    """Send one request that moves `size` bytes; the server's response."""
    return filesystem().call_s3(method, **fields, timeout=_deadline_s(size))


def exists(path: str) -> bool:
    """Whether there is an object, or any below the prefix."""
    try:
        filesystem().info(path, timeout=_deadline_s())
    except FileNotFoundError as error:
        if _code(error) == "NoSuchBucket":
            raise
        return False
    return True


def stat(path: str) -> StoredFile:
    """Describe the object at `path`."""
    info = filesystem().info(path, timeout=_deadline_s())
    if info["type"] != "file":
        raise IsADirectoryError(path)
    return StoredFile(f"s3://{info['name']}", info["size"], info["ETag"].strip('"'))


def list_files(path: str) -> list[StoredFile]:
    """The objects below `path`, without the empty ones that some tools write to mark a folder; an object lists itself.

    A page of the listing has a deadline, not the whole, which may have any length.
    """
    bucket, _, key = path.partition("/")
    fields: dict[str, Any] = {"Bucket": bucket, "Prefix": f"{key}/" if key else ""}
    files = list[StoredFile]()
    while True:
        page = _request("list_objects_v2", **fields)
        for item in page.get("Contents", []):
            if not item["Key"].endswith("/"):
                files.append(StoredFile(f"s3://{bucket}/{item['Key']}", item["Size"], item["ETag"].strip('"')))
        if not page.get("IsTruncated"):
            return files or _object_itself(path)
        fields["ContinuationToken"] = page["NextContinuationToken"]


def _object_itself(path: str) -> list[StoredFile]:
    with suppress(FileNotFoundError, IsADirectoryError):
        return [stat(path)]
    return []


def read_bytes(path: str, start: int, size: int | None) -> bytes:
    """Read a range of the object, all of it from one version."""
    if size == 0:
        return b""
    if size is not None:
        return _read(path, size, start=start, end=start + size)
    rest = stat(path).size_bytes - start
    return _read(path, max(0, rest), **({"start": start} if start else {}))


def _read(path: str, size: int, **bounds: int) -> bytes:
    """Read by one request; `size` bytes are expected, but a newer version may be longer."""
    try:
        return filesystem().cat_file(path, **bounds, max_concurrency=1, timeout=_deadline_s(size))
    except OSError as error:
        if _code(error) == "InvalidRange":  # it starts past the end
            return b""
        raise


def publish(source: str, path: str) -> None:
    """Upload the finished file `source`."""
    with open(source, "rb") as file:
        _upload(file, os.path.getsize(source), path)


def publish_bytes(data: bytes, path: str) -> None:
    """Upload `data`."""
    _upload(io.BytesIO(data), len(data), path)


def _upload(file: BinaryIO, size: int, path: str) -> None:
    if size <= multipart.UPLOAD_BYTES:
        filesystem().pipe_file(path, file.read(), timeout=_deadline_s(size), **_content_type(path))
        return

    def send_part(part: dict[str, Any], start: int, num_bytes: int) -> str:
        file.seek(start)
        return str(_request("upload_part", num_bytes, **part, Body=file.read(num_bytes))["ETag"])

    _upload_parts(path, size, multipart.UPLOAD_BYTES, send_part)


def _upload_parts(path: str, size: int, part_bytes: int, send_part: multipart.SendPart) -> None:
    """Create the object from parts, and once more where it may be complete but the response was lost."""
    target, headers = _target(path), _content_type(path)
    try:
        multipart.upload_parts(_request, target, headers, size, part_bytes, send_part)
    except FileNotFoundError as error:
        if _code(error) != "NoSuchUpload":
            raise
        multipart.upload_parts(_request, target, headers, size, part_bytes, send_part)


def create_if_absent(data: bytes, path: str) -> bool:
    """Upload `data` unless something is there (If-None-Match)."""
    try:
        _request("put_object", len(data), **_target(path), **_content_type(path), Body=data, IfNoneMatch="*")
    except FileExistsError:
        return False
    except OSError as error:
        if _code(error) in _ALREADY_THERE:  # servers differ in the code
            return False
        raise
    return True


def copy(source: str, path: str) -> None:
    """Copy on the server."""
    original, origin = stat(source), _target(source)
    if original.size_bytes <= multipart.COPY_BYTES:
        _request("copy_object", original.size_bytes, **_target(path), CopySource=origin)
        return

    def send_part(part: dict[str, Any], start: int, num_bytes: int) -> str:
        span = {"CopySourceRange": f"bytes={start}-{start + num_bytes - 1}", "CopySourceIfMatch": original.version}
        response = _request("upload_part_copy", num_bytes, **part, CopySource=origin, **span)
        return str(response["CopyPartResult"]["ETag"])

    _upload_parts(path, original.size_bytes, multipart.COPY_BYTES, send_part)


def delete(path: str) -> None:
    """Remove the object, if it is there."""
    filesystem().rm_file(path, timeout=_deadline_s())


def download(path: str, local_path: str) -> None:
    """Write the object to `local_path`, all of it from one version."""
    for _ in range(_REPEATS):
        before = stat(path)
        if before.size_bytes <= multipart.UPLOAD_BYTES:
            Path(local_path).write_bytes(_read(path, before.size_bytes))
            return
        with open(local_path, "wb") as file:
            for start, size in multipart.byte_ranges(before.size_bytes, multipart.UPLOAD_BYTES):
                file.write(_read(path, size, start=start, end=start + size))
        if stat(path) == before:
            return
    raise OSError(errno.EBUSY, "it was replaced again and again while it was read")


def _target(path: str) -> dict[str, str]:
    bucket, _, key = path.partition("/")
    return {"Bucket": bucket, "Key": key}


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
def translate_errors(path: str, size: int = 0) -> Iterator[None]:
    """Turn what botocore and s3fs raise into a StorageError that names the object and what to do about it, in one line.

    Args:
        path: of the object, bucket/key.
        size: bytes that were to be written, for the message.

    Raises:
        StorageError: the object cannot be read or written.
        ValueError: `path` is no valid S3 name.
    """
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except StorageError:
        raise
    except BotoCoreError as error:
        raise _from_botocore(error, path) from error
    except OSError as error:
        raise _from_os_error(error, path, size) from error


def _from_botocore(error: BotoCoreError, path: str) -> Exception:
    """What to raise for an error of the client: no answer, no credentials, no valid name."""
    import botocore.exceptions as aws

    uri = f"s3://{path}"
    message = " ".join(str(error).split())
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError):
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        return AccessDeniedError(f"no complete credentials for {uri}: {hint}")
    if isinstance(error, aws.ParamValidationError):
        return ValueError(f"{uri} is no valid S3 name: {message}")
    if isinstance(error, aws.HTTPClientError | aws.ConnectionError):
        return UnreachableError(f"no answer from {_endpoint()} for {uri} ({error}): check AWS_ENDPOINT_URL")
    return StorageError(f"cannot use {uri}: {message}")


def _from_os_error(error: OSError, path: str, size: int) -> StorageError:
    """What to raise for the OSError that s3fs makes of the server's answer."""
    endpoint, uri, code = _endpoint(), f"s3://{path}", _code(error)
    if isinstance(error, FileNotFoundError):
        if code == "NoSuchBucket":
            bucket = path.partition("/")[0]
            return FileMissingError(f"there is no bucket {bucket!r} at {endpoint} for {uri}: create it")
        return FileMissingError(f"there is no object {uri} at {endpoint}")
    if isinstance(error, IsADirectoryError):
        return IsFolderError(f"{uri} is a prefix of objects where one object is needed")
    if isinstance(error, PermissionError):
        hint = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the policy of the bucket"
        return AccessDeniedError(f"{endpoint} refuses access to {uri} ({code or error}): {hint}")
    if isinstance(error, TimeoutError):
        slow = f"{endpoint} does not answer, or with less than {SLOWEST_BYTES_PER_S} bytes a second"
        return StorageTimeoutError(f"{slow}: gave up {uri}; check the network and AWS_ENDPOINT_URL")
    if error.errno == errno.ENOSPC:
        return NoSpaceError(error.errno, f"no space left on this machine for a copy of {uri}")
    action = f"writing {size} bytes to" if size else "using"
    return StorageError(error.errno, f"{endpoint} failed at {action} {uri}: {code} {error.strerror or error}")


def _endpoint() -> str:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
