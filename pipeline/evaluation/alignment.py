"""Predictions on a stream's clock brought onto the times of its annotations: the rows of predictions.parquet."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.predictions import ClockPredictions, StreamPredictions
from pipeline.evaluation.segment_corruption import kind_names
from pipeline.records import LABEL_NAMES

Columns = dict[str, NDArray]  # of one length, by name


def align_to_annotations(stream: StreamPredictions) -> Columns:
    """Columns of predictions.parquet for one stream, a row per annotation.

    Predictions, and smoothed ones where the clock has them, are interpolated between the two neighbouring frames of
    the clock and held at its ends; masks, gates and the kind of corruption, "" where there is none, are those of the
    nearest frame.
    """
    clock, annotations = stream.clock, stream.annotations
    times_s = annotations["time_s"]
    nearest = _nearest(clock.times_s, times_s)
    smoothed = {} if clock.smoothed is None else _interpolate(times_s, clock, clock.smoothed, "smoothed")
    kinds = () if clock.corruption is None else kind_names(clock.corruption[nearest]).T
    return {
        "video_id": np.full(len(annotations), stream.video_id, object),
        "person": np.full(len(annotations), stream.person, object),
        "frame": annotations["frame"],
        "time_s": times_s,
        "valence": annotations["valence"],
        "arousal": annotations["arousal"],
        **_interpolate(times_s, clock, clock.values, "pred"),
        **smoothed,
        "valid": clock.valid[nearest],
        "face_ok": clock.face_ok[nearest],
        "audio_ok": clock.audio_ok[nearest],
        **{f"gate_{name}": weights[nearest] for name, weights in clock.gates.items()},
        **{f"{modality}_corruption": names for modality, names in zip(("video", "audio"), kinds, strict=False)},
    }


def align_streams(streams: Iterable[StreamPredictions]) -> Columns:
    """The rows of `align_to_annotations` of all streams, one stream after another."""
    tables = [align_to_annotations(stream) for stream in streams]
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _interpolate(times_s: NDArray, clock: ClockPredictions, values: NDArray[np.float32], suffix: str) -> Columns:
    columns = {name: np.interp(times_s, clock.times_s, values[:, i]) for i, name in enumerate(LABEL_NAMES)}
    return {f"{name}_{suffix}": column.astype(np.float32) for name, column in columns.items()}


def _nearest(sorted_times: NDArray, times: NDArray) -> NDArray[np.int_]:
    """For each of `times` the index of the nearest of `sorted_times`, the earlier of two."""
    after = np.clip(np.searchsorted(sorted_times, times), 1, max(len(sorted_times) - 1, 1))
    before_is_nearer = times - sorted_times[after - 1] <= sorted_times[np.minimum(after, len(sorted_times) - 1)] - times
    return np.minimum(np.where(before_is_nearer, after - 1, after), len(sorted_times) - 1)
