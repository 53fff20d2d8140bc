"""What a model predicts for each stream of a split, on the stream's own clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

_ARRAYS = ("times_s", "values", "valid", "face_ok", "audio_ok")


@dataclass(frozen=True, slots=True)
class ClockPredictions:
    """What the model predicts at each of n frames of a stream's clock, and which modalities were there."""

    times_s: NDArray[np.float64]  # (n,) ascending
    values: NDArray[np.float32]  # (n, 2) valence, arousal in -1..1
    valid: NDArray[np.bool_]  # (n,) False where both modalities are missing
    face_ok: NDArray[np.bool_]  # (n,) of the frame itself
    audio_ok: NDArray[np.bool_]  # (n,)
    gates: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # (n,) weights by column name
    smoothed: NDArray[np.float32] | None = None  # (n, 2) `values` as pipeline.evaluation.smoothing makes them
    # (n, 2) video, audio: what no mask told the model, index into iaca_model.corruption.KINDS, or HEALTHY
    corruption: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class StreamPredictions:
    """The predictions and the annotations of one person in one video."""

    video_id: str
    person: str  # "" where a video has one stream only
    clock: ClockPredictions
    annotations: NDArray[np.void]  # ANNOTATION_DTYPE, ascending

    @property
    def name(self) -> str:
        """A name for people: the video's id, with the person where there is one."""
        return f"{self.video_id} ({self.person})" if self.person else self.video_id


def concatenate(clocks: Sequence[ClockPredictions]) -> ClockPredictions:
    """The predictions of consecutive segments of a stream as one."""
    arrays = {name: np.concatenate([getattr(clock, name) for clock in clocks]) for name in _ARRAYS}
    gates = {name: np.concatenate([clock.gates[name] for clock in clocks]) for name in clocks[0].gates}
    kinds = [clock.corruption for clock in clocks if clock.corruption is not None]
    return ClockPredictions(**arrays, gates=gates, corruption=np.concatenate(kinds) if kinds else None)


def with_invalid_filled(clock: ClockPredictions) -> ClockPredictions:
    """`clock` with the last valid prediction at every frame without one, and 0 before the first."""
    return replace(clock, values=fill_invalid_with_last(clock.values, clock.valid))


def fill_invalid_with_last(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(n, 2) values with the last valid one wherever `valid` (n,) is False, and 0 before the first."""
    last_valid = np.maximum.accumulate(np.where(valid, np.arange(len(valid)), -1))
    return np.where((last_valid >= 0)[:, None], values[np.maximum(last_valid, 0)], np.float32(0))
