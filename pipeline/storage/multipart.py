"""Multipart uploads to S3: the object is complete at the end, or the upload is aborted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

MAX_PARTS = 10_000  # of one object, as S3 allows
UPLOAD_BYTES = 8 << 20  # of a part that this machine sends, and so of what is held in memory
COPY_BYTES = 128 << 20  # of a part that the server copies

Request = Callable[..., dict[str, Any]]  # (method, bytes that it moves, **fields) -> response
SendPart = Callable[[dict[str, Any], int, int], str]  # (fields of the part, first byte, number of bytes) -> its ETag


def byte_ranges(size: int, part_bytes: int) -> Iterator[tuple[int, int]]:
    """First byte and size of each part of `size` bytes; parts grow where there would be too many."""
    part_bytes = max(part_bytes, -(-size // MAX_PARTS))
    return ((start, min(part_bytes, size - start)) for start in range(0, size, part_bytes))


def upload_parts(
    request: Request, target: dict[str, str], headers: dict[str, str], size: int, part_bytes: int, send_part: SendPart
) -> None:
    """Create the object `target` from parts; abort the upload if one fails.

    An upload that is neither completed nor aborted is stored, and paid for, for ever.

    Args:
        request: sends one request to the server.
        target: Bucket and Key.
        headers: of the object.
        size: bytes of the object.
        part_bytes: bytes of each part but the last.
        send_part: sends one part.
    """
    upload = {**target, "UploadId": request("create_multipart_upload", **target, **headers)["UploadId"]}
    try:
        parts = []
        for number, (start, num_bytes) in enumerate(byte_ranges(size, part_bytes), 1):
            etag = send_part({**upload, "PartNumber": number}, start, num_bytes)
            parts.append({"PartNumber": number, "ETag": etag})
        request("complete_multipart_upload", size, **upload, MultipartUpload={"Parts": parts})
    except BaseException:
        _abort(request, upload)
        raise


def _abort(request: Request, upload: dict[str, str]) -> None:
    from botocore.exceptions import BotoCoreError

    with suppress(OSError, BotoCoreError):  # the first error is the one to report
        request("abort_multipart_upload", **upload)
