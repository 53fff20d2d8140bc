"""A file's sound as a log-mel spectrogram on the video's clock."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.media.ffmpeg_command import compile_pipe, open_input
from pipeline.media.ffmpeg_process import Child, NotePipe
from pipeline.records import Probe, Rejection, SoundOnClock

FLOOR_POWER = 1e-10  # -100 dB, what mask_finite is given
CHUNK_HOPS = 1024
BLOCK_S = 1200  # sound is decoded in blocks of this length, each by itself: no span waits for all that is before it
LEAD_S = 1  # decoded before a block, for lossy codecs and filters to settle
SEEK_MARGIN_S = 2  # seeks go by pictures; the sound of the same moment may lie earlier in the file
SILENT_PEAK = 1e-3  # -60 dBFS
FULL_SCALE = 0.999
_NOTE = re.compile(r"frame:\d+ .*pts_time:(-?[\d.]+)")
_INPUT_GAP_S = 0.01  # gaps and overlaps of the packets beyond this are filled and cut


@dataclass(frozen=True, slots=True)
class _Heard:
    """What is known of each hop."""

    mel_db: NDArray[np.float16]  # (hops, mels)
    decoded: NDArray[np.bool_]  # (hops,) there were samples
    peak: NDArray[np.float32]  # (hops,) of the samples from its centre to the next one's
    clipped: NDArray[np.float32]  # (hops,) share of these at full scale

    @classmethod
    def nothing(cls, num_hops: int, num_mels: int) -> _Heard:
        floor_db = np.full((num_hops, num_mels), 10 * math.log10(FLOOR_POWER), np.float16)
        return cls(floor_db, np.zeros(num_hops, bool), np.zeros(num_hops, np.float32), np.zeros(num_hops, np.float32))

    def __getitem__(self, hops: slice) -> _Heard:
        return _Heard(self.mel_db[hops], self.decoded[hops], self.peak[hops], self.clipped[hops])


def read_sound(
    path: Path,
    probe: Probe,
    *,
    ffmpeg: str,
    num_clock_frames: int,
    frame_rate_hz: float,
    sample_rate_hz: int,
    n_fft: int,
    window_s: float,
    hop_s: float,
    num_mels: int,
    timeout_s: float,
    first_frame: int = 0,
) -> SoundOnClock:
    """Decode the first sound stream to mono on the clock and take its log-mel spectrogram.

    Hop i is centred at `first_frame / frame_rate_hz + i * hop_s`, or at the next hop of the whole video's grid where
    a frame does not begin on one; there are as many as begin within the `num_clock_frames` frames. They are the same
    to the last bit whatever `first_frame` is. Sound that starts late is padded, gaps are filled by its packets' times,
    and `hop_ok` is True only where packets are. Without a sound stream, or with one that yields nothing, every hop is
    masked and at the floor.

    Raises:
        Rejection: ("audio", "timeout").
    """
    started_s = time.perf_counter()
    first_hop = round(first_frame / frame_rate_hz / hop_s)
    stop_hop = math.ceil((first_frame + num_clock_frames) / frame_rate_hz / hop_s - 1e-9)
    heard = _Heard.nothing(stop_hop - first_hop, num_mels)
    if probe.audio_stream < 0:
        return SoundOnClock(heard.mel_db, heard.decoded)
    mel = LogMel(sample_rate_hz, n_fft=n_fft, window_s=window_s, hop_s=hop_s, num_mels=num_mels)
    times_s = np.arange(first_hop, stop_hop, dtype=np.float64) * hop_s
    blocks = np.floor(times_s / BLOCK_S + 1e-9).astype(int)
    problem = ""
    for block in np.unique(blocks):
        first, stop = np.searchsorted(blocks, [block, block + 1])
        reader = _BlockReader(path, probe, ffmpeg, mel, int(block))
        left_s = timeout_s - (time.perf_counter() - started_s)
        if not reader.read(heard[first:stop], first_hop + int(first), max(left_s, 0.001)):
            raise Rejection("audio", "timeout", f"sound not decoded within {timeout_s:g} s")
        problem = problem or reader.problem
    return _on_clock(heard, times_s, probe, problem, time.perf_counter() - started_s)


def _on_clock(
    heard: _Heard, times_s: NDArray[np.float64], probe: Probe, problem: str, seconds_audio: float
) -> SoundOnClock:
    hop_ok = heard.decoded & _within(times_s, probe.sound_spans_s)
    silent = float((heard.peak[hop_ok] < SILENT_PEAK).mean()) if hop_ok.any() else 0.0
    clipped = float(heard.clipped[hop_ok].mean()) if hop_ok.any() else 0.0
    return SoundOnClock(heard.mel_db, hop_ok, problem, seconds_audio, silent, clipped)


class _BlockReader:
    """Sound of one block, decoded from a second before it; the first block from the beginning of the file."""

    def __init__(self, path: Path, probe: Probe, ffmpeg: str, mel: LogMel, block: int) -> None:
        self.path, self.probe, self.ffmpeg, self.mel = path, probe, ffmpeg, mel
        self.origin_s = block * BLOCK_S - LEAD_S if block else 0  # whole seconds are whole samples
        self.problem = ""

    def read(self, heard: _Heard, first_hop: int, timeout_s: float) -> bool:
        """Fill `heard`, whose first hop is `first_hop`; whether there was time enough."""
        seek_s = max(0, self.origin_s - SEEK_MARGIN_S) if len(self.probe.keyframe_times_s) else 0
        begins_s = self._decode(heard, first_hop, timeout_s, seek_s)
        sounding = _within(np.array([float(self.origin_s)]), self.probe.sound_spans_s)[0]
        if seek_s and begins_s is not None and sounding and begins_s > 0:  # the seek landed too late
            begins_s = self._decode(heard, first_hop, timeout_s, 0)
        return begins_s is not None

    def _decode(self, heard: _Heard, first_hop: int, timeout_s: float, seek_s: float) -> float | None:
        """Seconds from the origin to the first sound that is decoded, infinite without any; None when time ran out."""
        times_s: list[float] = []
        notes = NotePipe(lambda line: _note_time(line, times_s)) if seek_s else None
        hops = np.arange(first_hop, first_hop + len(heard.decoded))
        with Child(self._command(hops, seek_s, notes), timeout_s=timeout_s, notes=notes) as child:
            _fill(heard, hops, self.mel, child)
            code = child.finish()
        if child.timed_out:  # what was decoded until then depends on the machine: it must not become data
            return None
        self.problem = f"sound: ffmpeg ended with {code}: {child.complaints}" if code else ""
        return times_s[0] if times_s else math.inf

    def _command(self, hops: NDArray[np.int64], seek_s: float, notes: NotePipe | None) -> list[str]:
        seek = {"ss": seek_s, "noaccurate_seek": None} if seek_s else {}
        sound = open_input(self.path, **seek)[str(self.probe.audio_stream)]
        sound = sound.filter("asetpts", f"PTS-({self.probe.start_s + self.origin_s!r})/TB")
        if notes:
            sound = sound.filter("ametadata", mode="add", key="heard", value=1)
            sound = sound.filter("ametadata", mode="print", key="heard", file=notes.url)
        if self.origin_s:  # wherever the seek landed, the resampler begins with the same sample
            sound = sound.filter("atrim", start=0)
        origin = self.origin_s * self.mel.sample_rate_hz
        layout = {"async": 1, "min_hard_comp": _INPUT_GAP_S, "first_pts": 0, "ochl": "mono", "rematrix_maxval": 1}
        first, stop = self.mel.samples(hops)
        sound = sound.filter("aresample", osr=self.mel.sample_rate_hz, **layout)
        sound = sound.filter("atrim", start_sample=max(0, first) - origin, end_sample=stop - origin)
        return compile_pipe(sound, self.ffmpeg, format="f32le", acodec="pcm_f32le")


def _note_time(line: str, times_s: list[float]) -> None:
    if not times_s and (match := _NOTE.search(line)):
        times_s.append(float(match[1]))


def _fill(heard: _Heard, hops: NDArray[np.int64], mel: LogMel, child: Child) -> None:
    """Fill `heard` chunk by chunk from the child's samples, which begin where the first of `hops` looks."""
    first, _ = mel.samples(hops)
    kept = np.zeros(max(0, -first), np.float32)  # sound before second 0 is mask_finite
    for chunk in range(0, len(hops), CHUNK_HOPS):
        part = slice(chunk, chunk + CHUNK_HOPS)
        centres, next_centre = mel.centres(hops[part]), int(mel.centres(hops[part][-1] + 1))
        start, stop = mel.samples(hops[part])
        fresh = np.zeros(stop - start - len(kept), np.float32)
        end = start + len(kept) + child.read_into(fresh) // fresh.itemsize
        seen = np.concatenate([kept, fresh])
        heard.mel_db[part] = mel(seen, centres - start)
        heard.decoded[part] = centres < end
        level = np.abs(seen[: next_centre - start])
        heard.peak[part] = np.maximum.reduceat(level, centres - start)
        heard.clipped[part] = np.add.reduceat(level >= FULL_SCALE, centres - start, dtype=np.float32)
        heard.clipped[part] /= np.diff(centres, append=next_centre)
        kept = seen[next_centre - mel.reach - start :]


class LogMel:
    """Power spectrogram (periodic Hann window, centred hops, mask_finite beyond the ends) to mel bands in dB.

    The mel scale is HTK's, filters are unnormalised triangles from 0 Hz to half the sample rate: the defaults of
    torchaudio's MelSpectrogram followed by AmplitudeToDB("power") without its top_db.
    """

    def __init__(self, sample_rate_hz: int, *, n_fft: int, window_s: float, hop_s: float, num_mels: int) -> None:
        length = round(window_s * sample_rate_hz)
        if not 0 < length <= n_fft:
            raise ValueError(f"a window of {window_s} s has {length} samples; allowed: 1 to n_fft = {n_fft}")
        self.sample_rate_hz, self.n_fft, self.hop_s = sample_rate_hz, n_fft, hop_s
        self.window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)
        self.triangles = [_nonzero(weights) for weights in mel_filters(sample_rate_hz, n_fft, num_mels).T]
        self.reach = length - length // 2 + 1  # samples on either side of a centre that suffice for its window

    def centres(self, hops: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """The sample at the middle of each hop."""
        return np.rint(np.asarray(hops) * (self.hop_s * self.sample_rate_hz)).astype(np.int64)

    def samples(self, hops: NDArray[np.int64]) -> tuple[int, int]:
        """The first sample that `hops` see, and the one after the last."""
        return int(self.centres(hops[0])) - self.reach, int(self.centres(hops[-1])) + self.reach

    def __call__(self, samples: NDArray[np.float32], centres: NDArray[np.int64]) -> NDArray[np.float32]:
        """(hops, mels) dB around `centres`, indices into `samples` that stay `reach` away from its ends."""
        # The window is shorter than n_fft; where it lies in the frame changes phases only, so the frame starts with it.
        length = len(self.window)
        frames = np.lib.stride_tricks.sliding_window_view(samples, length)[centres - length // 2] * self.window
        spectrum = np.fft.rfft(frames, self.n_fft)
        power = spectrum.real**2 + spectrum.imag**2
        # Not `power @ filters`: BLAS sums in an order that depends on its number of threads, and the bytes must not.
        mels = np.stack([(power[:, bins] * weights).sum(axis=1) for bins, weights in self.triangles], axis=1)
        return 10 * np.log10(np.maximum(mels, FLOOR_POWER))


def _nonzero(weights: NDArray[np.float32]) -> tuple[slice, NDArray[np.float32]]:
    """The bins that a triangle covers, and its weights there."""
    bins = np.flatnonzero(weights)
    covered = slice(bins[0], bins[-1] + 1) if len(bins) else slice(0)
    return covered, weights[covered]


@cache
def mel_filters(sample_rate_hz: int, n_fft: int, num_mels: int) -> NDArray[np.float32]:
    """(n_fft // 2 + 1, num_mels) triangles, equally spaced on HTK's mel scale 2595 log10(1 + f / 700)."""
    top_mel = 2595 * math.log10(1 + sample_rate_hz / 2 / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top_mel, num_mels + 2) / 2595) - 1)
    bins_hz = np.linspace(0, sample_rate_hz / 2, n_fft // 2 + 1)
    rise = (bins_hz[:, None] - corners_hz[None, :-2]) / np.diff(corners_hz)[None, :-1]
    fall = (corners_hz[None, 2:] - bins_hz[:, None]) / np.diff(corners_hz)[None, 1:]
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


def _within(times_s: NDArray[np.float64], spans_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    span = np.searchsorted(spans_s[:, 0], times_s + 1e-9, side="right") - 1
    if not len(spans_s):
        return np.zeros(len(times_s), bool)
    return (span >= 0) & (times_s < spans_s[span, 1])
