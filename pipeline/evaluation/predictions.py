"""A trained model over every frame of a split, brought onto each video's own annotations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from iaca_model.batch import AnyBatch
from iaca_model.config import FeatureSpec, InputSpec
from pipeline.config.sections import SequenceConfig
from pipeline.records import LABEL_NAMES, SampleRow, Segment
from pipeline.training import sequences
from pipeline.training.loader import Cut, read_segment, to_batch

SEQUENCES_AT_ONCE = 8
MaskedModality = Literal["none", "video", "audio"]
# own: self-attended (iaca) or unattended (dca); the options of other gates are numbered.
GATE_COLUMNS = {"video": ("own", "cross"), "audio": ("own", "cross"), "modality": ("video", "audio")}
_PER_FRAME = ("times_s", "values", "valid", "face_ok", "audio_ok")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class OnClock:
    """What the model says at each of n frames of a stream's clock, and what it was given."""

    times_s: NDArray[np.float64]  # (n,) ascending
    values: NDArray[np.float32]  # (n, 2) valence, arousal in -1..1
    valid: NDArray[np.bool_]  # (n,) False where both modalities are missing
    face_ok: NDArray[np.bool_]  # (n,) of the frame itself
    audio_ok: NDArray[np.bool_]  # (n,)
    gates: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # (n,) weights by column name
    smoothed: NDArray[np.float32] | None = None  # (n, 2) `values` as pipeline.evaluation.smoothing makes them


@dataclass(frozen=True, slots=True)
class Stream:
    """One person of one video: its clock and its annotations."""

    video_id: str
    person: str
    clock: OnClock
    annotations: NDArray[np.void]  # ANNOTATION_DTYPE, ascending

    @property
    def name(self) -> str:
        """What people read: the video's id, with the person where there is one."""
        return f"{self.video_id} ({self.person})" if self.person else self.video_id


def predict(
    model: nn.Module,
    dataset_uri: str,
    rows: Iterable[SampleRow],
    view: SequenceConfig,
    spec: InputSpec | FeatureSpec,
    masked_modality: MaskedModality,
) -> Iterator[Stream]:
    """Every stream of `rows` in the order of its name, each frame predicted exactly once.

    Raises:
        SampleError, OSError: a sample cannot be read; an evaluation leaves none out.
    """
    ordered = sorted(rows, key=lambda row: (row.video_id, row.person, row.start_s))
    for (video_id, person), stream_rows in groupby(ordered, key=lambda row: (row.video_id, row.person)):
        segments = [read_segment(dataset_uri, row) for row in stream_rows]
        clocks = [predict_segment(model, segment, view, spec, masked_modality) for segment in segments]
        annotations = np.concatenate([segment.annotations for segment in segments])
        yield Stream(video_id, person, carried(joined(clocks)), annotations)


@torch.no_grad()
def predict_segment(
    model: nn.Module,
    segment: Segment,
    view: SequenceConfig,
    spec: InputSpec | FeatureSpec,
    masked_modality: MaskedModality = "none",
) -> OnClock:
    """The segment's own frames, through all phases; invalid steps hold whatever the model says there."""
    count = segment.num_frames
    values, valid = np.zeros((count, 2), np.float32), np.zeros(count, bool)
    gates: dict[str, NDArray[np.float32]] = {}
    for phases, part in _one_ahead(_chunks(segment, view, spec)):
        prediction = model(with_masked(to_batch([part]), masked_modality))
        own = sequences.ends(phases, view)
        inside = own < count
        values[own[inside]] = prediction.values_BL2.numpy()[inside]
        valid[own[inside]] = prediction.valid_BL.numpy()[inside]
        for name, weights in _columns(prediction.gates):
            gates.setdefault(name, np.zeros(count, np.float32))[own[inside]] = weights[inside]
    frames = segment.frames[segment.num_preroll :]
    face_ok = frames["face_ok"] & frames["video_ok"]
    return OnClock(frames["time_s"], np.clip(values, -1, 1), valid, face_ok, frames["audio_ok"], gates)


def with_masked(batch: AnyBatch, masked_modality: MaskedModality) -> AnyBatch:
    """`batch` with one modality masked at every step."""
    if masked_modality == "video":
        return replace(batch, video_ok_BL=torch.zeros_like(batch.video_ok_BL))
    if masked_modality == "audio":
        return replace(batch, audio_ok_BL=torch.zeros_like(batch.audio_ok_BL))
    return batch


def joined(clocks: list[OnClock]) -> OnClock:
    """The clocks of consecutive segments as one."""
    columns = {name: [getattr(clock, name) for clock in clocks] for name in _PER_FRAME}
    gates = {name: np.concatenate([clock.gates[name] for clock in clocks]) for name in clocks[0].gates}
    return OnClock(**{name: np.concatenate(parts) for name, parts in columns.items()}, gates=gates)


def carried(clock: OnClock) -> OnClock:
    """`clock` with the last valid prediction wherever there is none, and 0 before the first."""
    return replace(clock, values=carry(clock.values, clock.valid))


def carry(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(n, 2) values with the last valid one wherever `valid` (n,) is False, and 0 before the first."""
    last = np.maximum.accumulate(np.where(valid, np.arange(len(valid)), -1))
    return np.where((last >= 0)[:, None], values[np.maximum(last, 0)], np.float32(0))


def at_annotations(stream: Stream) -> dict[str, NDArray]:
    """Columns of predictions.parquet for one stream, a row per annotation.

    Predictions, and smoothed ones where the clock has them, are interpolated between the two neighbouring frames of
    the clock and held at its ends; masks and gates are those of the nearest frame.
    """
    clock, rows = stream.clock, stream.annotations
    nearest = _nearest(clock.times_s, rows["time_s"])
    smoothed = {} if clock.smoothed is None else _at_times(rows["time_s"], clock, clock.smoothed, "smoothed")
    return {
        "video_id": np.full(len(rows), stream.video_id, object),
        "person": np.full(len(rows), stream.person, object),
        "frame": rows["frame"],
        "time_s": rows["time_s"],
        "valence": rows["valence"],
        "arousal": rows["arousal"],
        **_at_times(rows["time_s"], clock, clock.values, "pred"),
        **smoothed,
        "valid": clock.valid[nearest],
        "face_ok": clock.face_ok[nearest],
        "audio_ok": clock.audio_ok[nearest],
        **{f"gate_{name}": weights[nearest] for name, weights in clock.gates.items()},
    }


def joined_columns(streams: Iterable[Stream]) -> dict[str, NDArray]:
    """The rows of `at_annotations` of all streams, one after another."""
    tables = [at_annotations(stream) for stream in streams]
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _at_times(times_s: NDArray, clock: OnClock, values: NDArray[np.float32], suffix: str) -> dict[str, NDArray]:
    columns = {name: np.interp(times_s, clock.times_s, values[:, i]) for i, name in enumerate(LABEL_NAMES)}
    return {f"{name}_{suffix}": column.astype(np.float32) for name, column in columns.items()}


def _nearest(sorted_times: NDArray, times: NDArray) -> NDArray[np.int_]:
    after = np.clip(np.searchsorted(sorted_times, times), 1, max(len(sorted_times) - 1, 1))
    before_is_nearer = times - sorted_times[after - 1] <= sorted_times[np.minimum(after, len(sorted_times) - 1)] - times
    return np.minimum(np.where(before_is_nearer, after - 1, after), len(sorted_times) - 1)


def _chunks(
    segment: Segment, view: SequenceConfig, spec: InputSpec | FeatureSpec
) -> Iterator[tuple[tuple[int, ...], Cut]]:
    for phases in sequences.chunks(segment, view, SEQUENCES_AT_ONCE):
        yield phases, sequences.cut(segment, phases, view, spec)


def _one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, the next of them made by a thread while the caller works on the last."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def _columns(gates: dict[str, torch.Tensor]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for gate, weights_BLn in gates.items():
        width = weights_BLn.shape[-1]
        known = GATE_COLUMNS.get(gate, ()) if f"{gate}_first" not in gates else ()
        names = known if len(known) == width else tuple(str(i) for i in range(width))
        for i, name in enumerate(names):
            yield f"{gate}_{name}", weights_BLn[..., i].numpy()
