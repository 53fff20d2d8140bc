"""Which ffmpeg is run, and with which command lines."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import ffmpeg
import imageio_ffmpeg

from pipeline.media.limits import DEMUXERS, PROTOCOLS


def find_ffmpeg() -> str:
    """Path of the ffmpeg executable: the one on PATH, else the one that imageio-ffmpeg bundles.

    Raises:
        FileNotFoundError: there is neither.
    """
    on_path = shutil.which("ffmpeg")
    if on_path:
        return on_path
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise FileNotFoundError("no ffmpeg on PATH and none bundled: install ffmpeg or imageio-ffmpeg") from error


def ffmpeg_version(executable: str) -> str:
    """The version of an ffmpeg executable, e.g. "7.1.1" or "n9.0.2-17-g2a571b6068-20260930".

    Raises:
        OSError: the executable does not start or does not introduce itself as ffmpeg.
    """
    output = subprocess.run([executable, "-version"], capture_output=True, text=True, timeout=30, check=False).stdout
    parts = output.split()
    if parts[:2] != ["ffmpeg", "version"]:
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
