"""A file's sound as a log-mel spectrogram on the video's clock."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.media.ffmpeg_command import compile_pipe, open_input
from pipeline.media.ffmpeg_process import FFmpegProcess
from pipeline.media.frame_times import FrameTimes
from pipeline.media.log_mel import FLOOR_POWER, LogMel
from pipeline.media.options import DecodeOptions, MelOptions
from pipeline.records import Probe, Rejection, SoundOnClock

CHUNK_HOPS = 1024
BLOCK_S = 1200  # sound is decoded in blocks of this length, each by itself: no span waits for all that is before it
LEAD_S = 1  # decoded before a block, for lossy codecs and filters to settle
SEEK_MARGIN_S = 2  # seeks go by pictures; the sound of the same moment may lie earlier in the file
SILENT_PEAK = 1e-3  # -60 dBFS
FULL_SCALE = 0.999
_INPUT_GAP_S = 0.01  # gaps and overlaps of the packets beyond this are filled and cut


@dataclass(frozen=True, slots=True)
class _Hops:
    """What is decoded for each hop; slices are views."""

    mel_db: NDArray[np.float16]  # (hops, mels)
    decoded: NDArray[np.bool_]  # (hops,) there were samples
    peak: NDArray[np.float32]  # (hops,) of the samples from its centre to the next one's
    clipped: NDArray[np.float32]  # (hops,) share of these at full scale

    @classmethod
    def empty(cls, num_hops: int, num_mels: int) -> _Hops:
        floor_db = np.full((num_hops, num_mels), 10 * math.log10(FLOOR_POWER), np.float16)
        return cls(floor_db, np.zeros(num_hops, bool), np.zeros(num_hops, np.float32), np.zeros(num_hops, np.float32))

    def __getitem__(self, hops: slice) -> _Hops:
        return _Hops(self.mel_db[hops], self.decoded[hops], self.peak[hops], self.clipped[hops])


def read_sound(
    path: Path,
    probe: Probe,
    decode: DecodeOptions,
    mel: MelOptions,
    *,
    num_clock_frames: int,
    first_frame: int = 0,
) -> SoundOnClock:
    """Decode the first sound stream to mono on the clock and take its log-mel spectrogram.

    Hop i is centred at `first_frame / frame_rate_hz + i * hop_s`, or at the next hop of the whole video's grid where
    a frame does not begin on one; there are as many as begin within the `num_clock_frames` frames. They are the same
    to the last bit whatever `first_frame` is. Sound that starts late is padded, gaps are filled by its packets' times,
    and `hop_ok` is True only where packets are. Without a sound stream, or with one that yields nothing, every hop is
    masked and at the floor.

    Args:
        path: of the media file.
        probe: of this file.
        decode: the executable, the clock, and the time for all blocks together.
        mel: the spectrogram's options.
        num_clock_frames: frames of the clock to read the sound of.
        first_frame: the first of them.

    Raises:
        Rejection: ("audio", "timeout").
        ValueError: the spectrogram's window is longer than its transform.
    """
    started_s = time.perf_counter()
    first_hop = round(first_frame / decode.frame_rate_hz / mel.hop_s)
    stop_hop = math.ceil((first_frame + num_clock_frames) / decode.frame_rate_hz / mel.hop_s - 1e-9)
    hops = _Hops.empty(stop_hop - first_hop, mel.num_mels)
    if probe.audio_stream < 0:
        return SoundOnClock(hops.mel_db, hops.decoded)
    log_mel = LogMel(mel)
    times_s = np.arange(first_hop, stop_hop, dtype=np.float64) * mel.hop_s
    blocks = np.floor(times_s / BLOCK_S + 1e-9).astype(int)
    problem = ""
    for block in np.unique(blocks):
        first, stop = np.searchsorted(blocks, [block, block + 1])
        reader = _BlockReader(path, probe, decode, log_mel, int(block))
        reader.read(hops[first:stop], first_hop + int(first), started_s + decode.timeout_s)
        problem = problem or reader.problem
    hop_ok = hops.decoded & _within(times_s, probe.sound_spans_s)
    return SoundOnClock(
        mel_db=hops.mel_db,
        hop_ok=hop_ok,
        problem=problem,
        seconds_audio=time.perf_counter() - started_s,
        silent_fraction=float((hops.peak[hop_ok] < SILENT_PEAK).mean()) if hop_ok.any() else 0.0,
        clipped_fraction=float(hops.clipped[hop_ok].mean()) if hop_ok.any() else 0.0,
    )


class _BlockReader:
    """Sound of one block, decoded from a second before it; the first block from the beginning of the file."""

    def __init__(self, path: Path, probe: Probe, decode: DecodeOptions, log_mel: LogMel, block: int) -> None:
        self.path, self.probe, self.decode, self.log_mel = path, probe, decode, log_mel
        self.origin_s = block * BLOCK_S - LEAD_S if block else 0  # whole seconds are whole samples
        self.problem = ""

    def read(self, hops: _Hops, first_hop: int, deadline_s: float) -> None:
        """Fill `hops`, the first of which is `first_hop`, before `time.perf_counter()` is `deadline_s`.

        Raises:
            Rejection: ("audio", "timeout").
        """
        seek_s = max(0, self.origin_s - SEEK_MARGIN_S) if len(self.probe.keyframe_times_s) else 0
        starts_s = self._decode(hops, first_hop, deadline_s, seek_s)
        sound_at_origin = _within(np.array([float(self.origin_s)]), self.probe.sound_spans_s)[0]
        if seek_s and sound_at_origin and starts_s > 0:  # the seek landed too late
            self._decode(hops, first_hop, deadline_s, 0)

    def _decode(self, hops: _Hops, first_hop: int, deadline_s: float, seek_s: float) -> float:
        """Fill `hops` from `seek_s` on.

        Returns:
            Seconds from the origin to the first sound that is decoded; infinite without any, or without a seek.
        """
        frame_times = FrameTimes() if seek_s else None
        numbers = np.arange(first_hop, first_hop + len(hops.decoded))
        command = self._command(numbers, seek_s, frame_times)
        messages = frame_times.pipe if frame_times else None
        left_s = max(deadline_s - time.perf_counter(), 0.001)
        with FFmpegProcess(command, timeout_s=left_s, messages=messages) as process:
            _fill(hops, numbers, self.log_mel, process)
            exit_code = process.finish()
        if process.timed_out:  # what was decoded until then depends on the machine: it must not become data
            raise Rejection("audio", "timeout", f"sound not decoded within {self.decode.timeout_s:g} s")
        self.problem = f"sound: ffmpeg ended with {exit_code}: {process.errors}" if exit_code else ""
        return frame_times.first_s if frame_times else math.inf

    def _command(self, numbers: NDArray[np.int64], seek_s: float, frame_times: FrameTimes | None) -> list[str]:
        seek = {"ss": seek_s, "noaccurate_seek": None} if seek_s else {}
        rate_hz = self.log_mel.options.sample_rate_hz
        sound = open_input(self.path, **seek)[str(self.probe.audio_stream)]
        sound = sound.filter("asetpts", f"PTS-({self.probe.start_s + self.origin_s!r})/TB")
        if frame_times:
            sound = frame_times.attach(sound, "audio")
        if self.origin_s:  # wherever the seek landed, the resampler begins with the same sample
            sound = sound.filter("atrim", start=0)
        layout = {"async": 1, "min_hard_comp": _INPUT_GAP_S, "first_pts": 0, "ochl": "mono", "rematrix_maxval": 1}
        sound = sound.filter("aresample", osr=rate_hz, **layout)
        first, stop = self.log_mel.sample_range(numbers)
        origin = self.origin_s * rate_hz
        sound = sound.filter("atrim", start_sample=max(0, first) - origin, end_sample=stop - origin)
        return compile_pipe(sound, self.decode.ffmpeg, format="f32le", acodec="pcm_f32le")


def _fill(hops: _Hops, numbers: NDArray[np.int64], log_mel: LogMel, process: FFmpegProcess) -> None:
    """Fill `hops` chunk by chunk from the samples of `process`, which begin with the first one that a hop covers.

    Args:
        hops: (n,) to fill.
        numbers: (n,) of these hops on the whole video's grid.
        log_mel: the spectrogram.
        process: writes mono samples, float32.
    """
    first, _ = log_mel.sample_range(numbers)
    overlap = np.zeros(max(0, -first), np.float32)  # of the chunk before; sound before second 0 is zero
    for chunk_start in range(0, len(numbers), CHUNK_HOPS):
        chunk = slice(chunk_start, chunk_start + CHUNK_HOPS)
        centres, next_centre = log_mel.centres(numbers[chunk]), int(log_mel.centres(numbers[chunk][-1] + 1))
        start, stop = log_mel.sample_range(numbers[chunk])
        fresh = np.zeros(stop - start - len(overlap), np.float32)
        end = start + len(overlap) + process.read_into(fresh) // fresh.itemsize
        samples = np.concatenate([overlap, fresh])
        hops.mel_db[chunk] = log_mel(samples, centres - start)
        hops.decoded[chunk] = centres < end
        level = np.abs(samples[: next_centre - start])
        hops.peak[chunk] = np.maximum.reduceat(level, centres - start)
        hops.clipped[chunk] = np.add.reduceat(level >= FULL_SCALE, centres - start, dtype=np.float32)
        hops.clipped[chunk] /= np.diff(centres, append=next_centre)
        overlap = samples[next_centre - log_mel.reach - start :]


def _within(times_s: NDArray[np.float64], spans_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) whether each time lies in one of the (M, 2) spans."""
    span = np.searchsorted(spans_s[:, 0], times_s + 1e-9, side="right") - 1
    if not len(spans_s):
        return np.zeros(len(times_s), bool)
    return (span >= 0) & (times_s < spans_s[span, 1])
