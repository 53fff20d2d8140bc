"""Warnings about sound: videos without a sound stream, and those whose sound is silence."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.dataset.report.face_warnings import videos_text
from pipeline.records import VideoRow

MIN_SILENT_FRACTION = 0.99  # of the sound, below -60 dBFS; less has a word somewhere


def silence_warnings(videos: Sequence[VideoRow]) -> tuple[str, ...]:
    """A line for the used videos that have no sound, and one for those with nothing but silence, with three names."""
    used = [row for row in videos if row.status == "ok"]
    mute = [row for row in used if not row.audio_codec]
    silent = [row for row in used if row.audio_codec and row.silent_fraction >= MIN_SILENT_FRACTION]
    lines = [("no sound in", mute), ("only silence in", silent)]
    return tuple(f"{what} {videos_text(rows)}" for what, rows in lines if rows)
