"""An S3 object made of parts, which is complete or, whatever happens, given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

MAX_PARTS = 10_000  # of one object, says S3
UPLOAD_BYTES = 8 << 20  # of a part that this machine sends, and so of what is held in memory
COPY_BYTES = 128 << 20  # of a part that the server copies

Ask = Callable[..., dict[str, Any]]  # (method, size in bytes, **request) -> answer
Send = Callable[[dict[str, Any], int, int], str]  # (part's own fields, first byte, size) -> its ETag


def spans(size: int, part_bytes: int) -> Iterator[tuple[int, int]]:
    """First byte and size of each part of `size` bytes; parts grow where there would be too many."""
    part_bytes = max(part_bytes, -(-size // MAX_PARTS))
    return ((start, min(part_bytes, size - start)) for start in range(0, size, part_bytes))


def assemble(ask: Ask, target: dict[str, str], headers: dict[str, str], size: int, part_bytes: int, send: Send) -> None:
    """Make `target` (Bucket and Key) of what `send` sends part by part; abort the upload where that fails.

    A part that nobody aborts is stored, and paid for, for ever.
    """
    upload = {**target, "UploadId": ask("create_multipart_upload", **target, **headers)["UploadId"]}
    try:
        sent = []
        for number, (start, num_bytes) in enumerate(spans(size, part_bytes), 1):
            sent.append({"PartNumber": number, "ETag": send({**upload, "PartNumber": number}, start, num_bytes)})
        ask("complete_multipart_upload", size, **upload, MultipartUpload={"Parts": sent})
    except BaseException:
        _abort(ask, upload)
        raise


def _abort(ask: Ask, upload: dict[str, str]) -> None:
    from botocore.exceptions import BotoCoreError

    with suppress(OSError, BotoCoreError):  # what went wrong before is what people should read
        ask("abort_multipart_upload", **upload)
