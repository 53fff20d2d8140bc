"""Stand-ins for ffmpeg: executables that give a version, or do something else."""

from __future__ import annotations

from pathlib import Path


def fake_ffmpeg(folder: Path, version: str = "", *, script: str = "") -> Path:
    """`<folder>/ffmpeg`, a shell script that says that it is ffmpeg of this version, or else runs `script`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ffmpeg"
    script = script or f"echo 'ffmpeg version {version} Copyright (c) 2000-2026 the FFmpeg developers'"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path
