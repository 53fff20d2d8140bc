"""Decoding a video's pictures onto a constant clock with an ffmpeg child process."""

from __future__ import annotations

import shutil
import subprocess

import imageio_ffmpeg


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


def ffmpeg_version(ffmpeg: str) -> str:
    """What `ffmpeg` calls its version, e.g. "7.1.1" or "n9.0.2-17-g2a571b6068-20260930".

    Raises:
        OSError: the executable does not start or does not introduce itself as ffmpeg.
    """
    output = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, timeout=30, check=False).stdout
    words = output.split()
    if words[:2] != ["ffmpeg", "version"]:
        raise OSError(f"{ffmpeg} -version does not introduce itself as ffmpeg: {output[:80]!r}")
    return words[2]
