"""Facial expressions that follow a trajectory: mouth, brows, lids and gaze on every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.synthetic.trajectory import Floats, smooth_noise


@dataclass(frozen=True, slots=True)
class Expression:
    """One frame's face; 0 is neutral where a sign is allowed."""

    smile: float  # -1 corners down to 1 corners up
    opening: float  # of the mouth, 0 closed to 1
    lids: float  # 0 shut, 1 wide open
    brow_height: float  # -1 low to 1 high
    brow_slant: float  # -1 inner ends low (a frown) to 1 inner ends high
    gaze: float  # -1 left to 1 right


def draw_expressions(rng: np.random.Generator, affect: Floats, lips: Floats, frame_rate_hz: float) -> list[Expression]:
    """Draw the expression on every frame; each cue has independent noise.

    Valence curves the mouth and slants the brows; arousal opens eyes and mouth and raises the brows.

    Args:
        affect: (num_frames, 2) valence and arousal.
        lips: (num_frames,) how far the voice opens them, 0 to 1.
    """
    valence, arousal = affect.T
    num_frames = len(affect)

    def wobble(amount: float, period_s: float = 1.0) -> Floats:
        return amount * smooth_noise(rng, num_frames, frame_rate_hz, period_s)

    columns = (
        np.clip(valence + wobble(0.12), -1.1, 1.1),
        np.clip((0.50 + 0.35 * arousal) * lips + 0.10 * (1 + arousal) + wobble(0.03, 0.3), 0.0, 1.0),
        np.clip(0.62 + 0.34 * arousal + wobble(0.05), 0.12, 1.0) * (1 - _blinks(rng, num_frames, frame_rate_hz)),
        np.clip(arousal + wobble(0.12), -1.1, 1.1),
        np.clip(valence + wobble(0.15), -1.1, 1.1),
        np.clip(wobble(0.5, 1.5), -1.0, 1.0),
    )
    return [Expression(*map(float, row)) for row in zip(*columns, strict=True)]


def _blinks(rng: np.random.Generator, num_frames: int, frame_rate_hz: float) -> Floats:
    """(num_frames,) 0 open to 1 shut: a blink of a fifth of a second every few seconds."""
    num_blinks = rng.poisson(num_frames / frame_rate_hz / 4.0)
    moments_s = rng.uniform(0, num_frames / frame_rate_hz, size=num_blinks)
    distance_s = np.abs(np.arange(num_frames)[:, None] / frame_rate_hz - moments_s)
    return np.clip(1.3 - distance_s / 0.08, 0.0, 1.0).max(axis=1, initial=0.0)
