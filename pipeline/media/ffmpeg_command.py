"""Which ffmpeg is run, and with which command lines."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import ffmpeg
import imageio_ffmpeg

from pipeline.media.limits import DEMUXERS, PROTOCOLS

# The oldest release that passes tests/pipeline/media.
OLDEST_FFMPEG = (8, 0)
VERSION_TIMEOUT_S = 30.0


def find_ffmpeg(executable: str = "") -> str:
    """The absolute path of the ffmpeg to run, after a check of its version.

    Args:
        executable: path of an executable, or its name on PATH; empty: the ffmpeg that imageio-ffmpeg bundles.

    Raises:
        ValueError: there is no such executable, it is no ffmpeg, or its version is not known to be at least
            `OLDEST_FFMPEG`.
    """
    path = _find_executable(executable) if executable else _find_bundled()
    _require_version(path)
    return path


def _find_executable(executable: str) -> str:
    found = shutil.which(Path(executable).expanduser())
    if found is None:
        where = "at that path" if os.sep in executable else "of that name on PATH"
        raise ValueError(f"{executable}: machine {platform.node()} has no executable file {where}")
    return os.path.abspath(found)


def _find_bundled() -> str:
    """The ffmpeg within imageio-ffmpeg; its own search would also take one from the environment or PATH."""
    bundled = sorted((Path(imageio_ffmpeg.__file__).parent / "binaries").glob("ffmpeg-*"))
    if not bundled:
        raise ValueError(f"imageio-ffmpeg {imageio_ffmpeg.__version__} bundles no ffmpeg for {platform.platform()}")
    return str(bundled[-1])


def _require_version(path: str) -> None:
    """Raise ValueError unless `path` is an ffmpeg that decodes every frame at its time."""
    oldest = "{}.{}".format(*OLDEST_FFMPEG)
    try:
        version = ffmpeg_version(path)
    except OSError as error:
        raise ValueError(str(error)) from error
    release = release_of(version)
    if release is None:
        raise ValueError(
            f"{path} is ffmpeg {version}, which names no release, so it cannot be compared with {oldest}, the oldest "
            f"that decodes every frame at its time"
        )
    if release < OLDEST_FFMPEG:
        raise ValueError(f"{path} is ffmpeg {version}, but {oldest} is the oldest that decodes every frame at its time")


def release_of(version: str) -> tuple[int, int] | None:
    """The release that a version belongs to, e.g. (9, 0) for "n9.0.2-17-g2a571b6068"; None where it names none.

    Builds from the development branch, such as "N-118000-g1a2b3c", name none.
    """
    match = re.match(r"n?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else None


@functools.cache
def ffmpeg_version(executable: str) -> str:
    """The version of an ffmpeg executable, e.g. "7.1.1" or "n9.0.2-17-g2a571b6068-20260930".

    Raises:
        OSError: the executable does not start or does not introduce itself as ffmpeg.
    """
    try:
        output = subprocess.run(
            [executable, "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_TIMEOUT_S,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired:
        raise OSError(f"{executable} -version gives no answer within {VERSION_TIMEOUT_S:g} s") from None
    except OSError as error:
        raise OSError(f"{executable} cannot be started: {error.strerror}") from error
    parts = output.split()
    if parts[:2] != ["ffmpeg", "version"] or len(parts) < 3:
        raise OSError(f"{executable} -version does not introduce itself as ffmpeg: {output[:80]!r}")
    return parts[2]


def open_input(path: Path, **options: object) -> ffmpeg.nodes.FilterableStream:
    """`path` as an input of ffmpeg: one thread, original timestamps, nothing but local files of known containers."""
    limits = {"protocol_whitelist": PROTOCOLS, "format_whitelist": DEMUXERS}
    return ffmpeg.input(f"file:{path}", threads=1, copyts=None, **limits, **options)


def compile_pipe(stream: ffmpeg.nodes.FilterableStream, executable: str, **options: object) -> list[str]:
    """The command line that writes `stream` to standard output, and to standard error nothing but errors."""
    output = stream.output("pipe:1", **options).global_args(
        "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", "-filter_complex_threads", "1"
    )
    return output.compile(cmd=executable)
