"""Corruption of a recording: a covered or blurred face; dropped, noisy or mismatched sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.synthetic.trajectory import Floats

FACE_KINDS = ("face_covered", "face_blurred")
SOUND_KINDS = ("audio_dropped", "audio_noisy", "audio_mismatched")
KINDS = (FACE_KINDS[0], SOUND_KINDS[0], FACE_KINDS[1], SOUND_KINDS[1], SOUND_KINDS[2])  # the order clips take them in
SPAN_SHARE = (0.25, 0.40)  # of the clip
NOISE_DB = -22.0


@dataclass(frozen=True, slots=True)
class Corruption:
    """One corrupted span of a clip, in seconds from its start."""

    kind: str
    start_s: float
    end_s: float

    def contains(self, num_points: int, rate_hz: float) -> NDArray[np.bool_]:
        """Which of `num_points` points at `rate_hz` lie within the span, (num_points,)."""
        times_s = np.arange(num_points) / rate_hz
        return (times_s >= self.start_s) & (times_s < self.end_s)


def draw_spans(rng: np.random.Generator, kinds: tuple[str, ...], duration_s: float) -> tuple[Corruption, ...]:
    """Draw a span for every kind, anywhere in the clip, to the hundredth of a second.

    Raises:
        ValueError: a kind is not one of KINDS.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"unknown corruption {unknown[0]!r}; allowed: {', '.join(KINDS)}")
    spans = []
    for kind in kinds:
        length_s = duration_s * rng.uniform(*SPAN_SHARE)
        start_s = rng.uniform(0, duration_s - length_s)
        spans.append(Corruption(kind, round(start_s, 2), round(start_s + length_s, 2)))
    return tuple(spans)


def corrupt_sound(
    rng: np.random.Generator, samples: Floats, other_samples: Floats, spans: tuple[Corruption, ...], sample_rate_hz: int
) -> Floats:
    """Corrupt the sound within its spans.

    Args:
        rng: of the noise.
        samples: the intact sound, in [-1, 1].
        other_samples: sound of the same length, which replaces mismatched spans.
        spans: corruptions of the clip; those of the face change nothing here.
        sample_rate_hz: of both sounds.
    """
    corrupted = samples.copy()
    for span in spans:
        inside = span.contains(len(samples), sample_rate_hz)
        if span.kind == "audio_dropped":
            corrupted[inside] = 0.0
        elif span.kind == "audio_mismatched":
            corrupted[inside] = other_samples[inside]
        elif span.kind == "audio_noisy":
            corrupted[inside] += 10 ** (NOISE_DB / 20) * rng.standard_normal(int(inside.sum()))
    return np.clip(corrupted, -1.0, 1.0)
