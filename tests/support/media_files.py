"""Makes media files whose every frame and sound is known: frame numbers drawn as bits, sound placed by timestamp."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH_PX, HEIGHT_PX, NUM_BITS = 256, 64, 8
MS = Fraction(1, 1000)


def counter_picture(number: int) -> np.ndarray:
    """(HEIGHT_PX, WIDTH_PX) grey: eight bars, white for a 1, the highest bit on the left."""
    bits = [(number >> bit) & 1 for bit in reversed(range(NUM_BITS))]
    row = np.repeat(np.where(bits, 235, 16), WIDTH_PX // NUM_BITS)
    return np.tile(row.astype(np.uint8), (HEIGHT_PX, 1))


def read_counter(grey: np.ndarray) -> int:
    """The number in a picture that `counter_picture` drew, however it was scaled or compressed."""
    bars = np.array_split(grey, NUM_BITS, axis=1)
    return sum(int(bar.mean() > 125) << (NUM_BITS - 1 - i) for i, bar in enumerate(bars))


def write_media(
    path: Path,
    pictures=(),
    times_ms=(),
    *,
    codec="libx264",
    sound=None,
    sound_at_ms=0,
    sound_rate_hz=16000,
    sound_codec="pcm_s16le",
    layout="mono",
    pix_fmt="yuv420p",
    video_options=None,
    options=None,
    rotation_deg=0,
    aspect=None,
    time_base=MS,
):
    """Write grey or RGB `pictures` shown at `times_ms`, and `sound` (float in [-1, 1]) from `sound_at_ms` on.

    `sound` may be a list of (start in ms, samples) for sound with gaps.
    """
    pictures = list(pictures)
    parts = sound if isinstance(sound, list) else [] if sound is None else [(sound_at_ms, sound)]
    with av.open(str(path), "w", options=options or {}) as container:
        video = None
        if pictures:
            video = container.add_stream(codec, rate=30, options=video_options or {})
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt, video.time_base = pix_fmt, time_base
            video.codec_context.time_base = time_base
            video.codec_context.gop_size = 12
            if aspect:
                video.codec_context.sample_aspect_ratio = aspect
            if rotation_deg:
                video.set_display_rotation(rotation_deg)
        audio = None
        if parts:
            audio = container.add_stream(sound_codec, rate=sound_rate_hz, layout=layout)
        packets = []
        if video:
            for picture, time_ms in zip(pictures, times_ms, strict=True):
                frame = av.VideoFrame.from_ndarray(picture, "gray" if picture.ndim == 2 else "rgb24")
                frame.pts, frame.time_base = round(Fraction(time_ms) / 1000 / time_base), time_base
                packets += video.encode(frame)
            packets += video.encode(None)
        for start_ms, samples in parts:
            packets += _encode_sound(audio, start_ms, samples, sound_rate_hz, layout)
        if audio:
            packets += audio.encode(None)
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            container.mux(packet)
    return path


def _encode_sound(audio, start_ms, samples, rate_hz, layout):
    packets, size = [], 1024 if audio.codec_context.name == "aac" else rate_hz // 50
    start = round(start_ms * rate_hz / 1000)
    channels = av.AudioLayout(layout).nb_channels
    for first in range(0, len(samples), size):
        block = np.tile(np.asarray(samples[first : first + size], np.float32), (channels, 1))
        frame = av.AudioFrame.from_ndarray(block, "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, start + first, Fraction(1, rate_hz)
        resampler = av.AudioResampler(audio.codec_context.format, layout, rate_hz)
        for converted in resampler.resample(frame):
            converted.pts, converted.time_base = start + first, Fraction(1, rate_hz)
            packets += audio.encode(converted)
    return packets


def tone(duration_s, rate_hz=16000, frequency_hz=1000.0, level=0.5):
    return level * np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * rate_hz)) / rate_hz)
