"""What a person reads of an error: its message, in words, and a class only where a defect is to be reported."""

import errno

import pytest

from pipeline.config import UsageError
from pipeline.runtime.error_messages import message_of
from pipeline.storage.errors import FileMissingError


class FakeRayError(Exception):
    """An exception that carries another one, as Ray's do."""

    def __init__(self, cause):
        super().__init__("ray::work()\nTraceback (most recent call last):\n  ...")
        self.cause = cause


DEFECT = "a defect of the program, please report it: "


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UsageError("set source.videos"), "set source.videos"),
        (ValueError("3 is not 4"), "3 is not 4"),
        (FileMissingError("/a does not exist"), "/a does not exist"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "/a/b.csv"),
            "/a/b.csv: No such file or directory",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("the decoder is gone"), "the decoder is gone"),
        (MemoryError(), "out of memory"),
        (MemoryError("cannot allocate 3 GB"), "out of memory; cannot allocate 3 GB"),
        (FakeRayError(UsageError("set source.videos")), "set source.videos"),
        (FakeRayError(None), "ray::work()\nTraceback (most recent call last):\n  ..."),
        (KeyError("x"), DEFECT + "KeyError: 'x'"),
        (TypeError("no len()"), DEFECT + "TypeError: no len()"),
        (AssertionError(), DEFECT + "AssertionError"),
        (ValueError(), DEFECT + "ValueError"),
    ],
)
def test_errors_are_sentences(error, message):
    assert message_of(error) == message
