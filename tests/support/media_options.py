"""Options of pipeline.media for tests: small crops, the bundled ffmpeg, and a way to change one of them.

IACA_TEST_FFMPEG names another ffmpeg, of any version: so it is found which versions pass tests/pipeline/media.
"""

from __future__ import annotations

import os
from dataclasses import fields, replace

from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.media.options import CropOptions, DecodeOptions, MelOptions, TrackingOptions, VideoOptions

DECODE = DecodeOptions(ffmpeg=os.environ.get("IACA_TEST_FFMPEG") or find_ffmpeg(), frame_rate_hz=25.0, timeout_s=60.0)
TRACKING = TrackingOptions(detect_every=5, min_score=0.5, min_overlap=0.3, max_gap_s=0.5)
CROP = CropOptions(crop_px=64, jpeg_quality=95, margin=0.25)
VIDEO = VideoOptions(DECODE, TRACKING, CROP)
MEL = MelOptions(sample_rate_hz=16000, n_fft=1024, window_s=0.02, hop_s=0.01, num_mels=64)


def change_options(options: VideoOptions, **changes: object) -> VideoOptions:
    """`options` with other values of the fields of its parts, e.g. detect_every=10."""
    parts = {}
    for part in fields(VideoOptions):
        value = getattr(options, part.name)
        changed = {field.name: changes.pop(field.name) for field in fields(value) if field.name in changes}
        parts[part.name] = replace(value, **changed)
    assert not changes, f"there are no options {sorted(changes)}"
    return VideoOptions(**parts)
