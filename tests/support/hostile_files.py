"""Makes files that lie, break off or ask for too much."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.support.media_files import counter_picture, tone, write_media

NUM_FRAMES = 50
PICTURES = [counter_picture(i) for i in range(NUM_FRAMES)]
TIMES_MS = [i * 40 for i in range(NUM_FRAMES)]


def clip(path: Path, times_ms=TIMES_MS, **settings) -> Path:
    return write_media(path, PICTURES, times_ms, **settings)


def patch_box(path: Path, box: bytes, offset: int, number: int) -> Path:
    """Overwrite a 32-bit number at `offset` behind the name of every such box of an MP4 file."""
    data = bytearray(path.read_bytes())
    at = data.find(box)
    assert at >= 0, f"no {box!r} in {path}"
    while at >= 0:
        struct.pack_into(">I", data, at + 4 + offset, number)
        at = data.find(box, at + 4)
    path.write_bytes(data)
    return path


def promise_ten_hours(path: Path) -> Path:
    """Matroska's header holds its duration as a double, in milliseconds."""
    data = bytearray(clip(path).read_bytes())
    struct.pack_into(">d", data, data.index(b"\x44\x89\x88") + 3, 36e6)
    path.write_bytes(data)
    return path


def huge_pictures(side_px: int):
    """JPEG pictures in QuickTime; both claim this size."""

    def make(path: Path) -> Path:
        clip(path, codec="mjpeg", pix_fmt="yuvj420p", time_base=Fraction(1, 25))
        patch_box(path, b"jpeg", 24, side_px << 16 | side_px)
        return patch_box(path, b"\xff\xc0\x00\x11", 1, side_px << 16 | side_px)

    return make


def two_hundred_streams(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        sounds = [container.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(199)]
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32), np.uint8), "gray")
        for packet in [*video.encode(picture), *video.encode(None)]:
            container.mux(packet)
        for sound in sounds:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 80), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
            for packet in sound.encode(frame):
                container.mux(packet)
    return path


def table_of_samples_too_large_for_memory(path: Path) -> Path:
    """An MP4 whose table of samples claims sixty million of them, a byte each."""
    clip(path, sound=tone(2.0), sound_codec="aac")
    patch_box(path, b"stsz", 4, 1)
    return patch_box(path, b"stsz", 8, 60_000_000)


def times_twice(path: Path) -> Path:
    """Every fifth picture has the time of the one before."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mjpeg", rate=25)
        video.height, video.width = PICTURES[0].shape
        video.pix_fmt = "yuvj420p"
        for number, picture in enumerate(PICTURES):
            frame = av.VideoFrame.from_ndarray(picture, "gray")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in video.encode(frame):
                packet.pts = packet.dts = number - (number % 5 == 4)
                container.mux(packet)
    return path


def negative_times(path: Path) -> Path:
    """The edit list skips the first 0.4 s of the picture: its frames there have negative times."""
    return skip_by_edit_list(clip(path, video_options={"bf": "0"}, sound=tone(2.0), sound_codec="aac"), 0.4)


def skip_by_edit_list(path: Path, skipped_s: float) -> Path:
    """Let the first track of an MP4 file, the picture, begin later in its media."""
    data = bytearray(path.read_bytes())
    time_scale = struct.unpack_from(">I", data, data.index(b"mdhd") + 4 + 12)[0]
    struct.pack_into(">i", data, data.index(b"elst") + 4 + 12, round(skipped_s * time_scale))
    path.write_bytes(data)
    return path


def cut_at(box: bytes):
    """An MP4 file that ends with the name of this box; its index comes first."""

    def make(path: Path) -> Path:
        clip(path, options={"movflags": "faststart"})
        data = path.read_bytes()
        path.write_bytes(data[: data.index(box) + 4])
        return path

    return make


def cut(share: float):
    """A file that ends after this share of its bytes."""

    def make(path: Path) -> Path:
        noise = np.random.default_rng(0).integers(0, 60, (NUM_FRAMES, *PICTURES[0].shape), np.uint8)
        write_media(path, [p // 2 + 20 + n for p, n in zip(PICTURES, noise, strict=True)], TIMES_MS)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return path

    return make
