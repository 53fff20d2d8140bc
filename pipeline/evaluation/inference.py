"""A trained model over every frame of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from iaca_model.batch import AnyBatch
from iaca_model.config import FeatureSpec, InputSpec
from iaca_model.corruption import HEALTHY
from pipeline.config.job_sections import SequenceConfig
from pipeline.evaluation.gate_weights import option_names
from pipeline.evaluation.predictions import ClockPredictions, StreamPredictions, concatenate, with_invalid_filled
from pipeline.evaluation.segment_corruption import SegmentCorruption, SplitCorruption
from pipeline.records import SampleRow, Segment
from pipeline.training.loader import read_segment
from pipeline.training.sequences import cut, end_frames, phase_groups

PHASES_AT_ONCE = 8
MaskedModality = Literal["none", "video", "audio"]
_Cut = TypeVar("_Cut")


def predict_streams(
    model: nn.Module,
    dataset_uri: str,
    rows: Iterable[SampleRow],
    view: SequenceConfig,
    spec: InputSpec | FeatureSpec,
    masked_modality: MaskedModality,
    corruption: SplitCorruption | None = None,
) -> Iterator[StreamPredictions]:
    """Every stream of `rows` in the order of its name, each frame predicted exactly once.

    Args:
        model: in evaluation mode.
        dataset_uri: of the dataset.
        rows: of its index.
        view: how sequences are cut from a segment.
        spec: what the model takes.
        masked_modality: at every step.
        corruption: of spans, of which the model is not told; only with nothing masked.

    Raises:
        SampleError, OSError: a sample cannot be read; an evaluation leaves none out.
    """
    ordered = sorted(rows, key=lambda row: (row.video_id, row.person, row.start_s))
    for (video_id, person), stream_rows in groupby(ordered, key=lambda row: (row.video_id, row.person)):
        clocks, annotations = [], []
        for row in stream_rows:
            segment = read_segment(dataset_uri, row)
            spans = corruption.of_segment(row, view) if corruption else None
            clocks.append(predict_segment(model, segment, view, spec, masked_modality, spans))
            annotations.append(segment.annotations)
        yield StreamPredictions(video_id, person, with_invalid_filled(concatenate(clocks)), np.concatenate(annotations))


@torch.no_grad()
def predict_segment(
    model: nn.Module,
    segment: Segment,
    view: SequenceConfig,
    spec: InputSpec | FeatureSpec,
    masked_modality: MaskedModality = "none",
    corruption: SegmentCorruption | None = None,
) -> ClockPredictions:
    """The segment's own frames, through all phases; invalid steps hold what the model predicts without any input."""
    num_frames = segment.num_frames
    values, valid = np.zeros((num_frames, 2), np.float32), np.zeros(num_frames, bool)
    gates: dict[str, NDArray[np.float32]] = {}
    kinds = np.full((num_frames, 2), HEALTHY, np.uint8)

    def cut_and_corrupt(phases: Sequence[int]) -> tuple[AnyBatch, NDArray[np.uint8]]:
        batch = mask_modality(cut(segment, phases, view, spec), masked_modality)
        if corruption is None:
            return batch, np.full((*batch.video_ok_BL.shape, 2), HEALTHY, np.uint8)
        return corruption.apply(batch, phases, view, spec)

    for phases, (batch, kind_BL2) in _ahead(phase_groups(segment, view, PHASES_AT_ONCE), cut_and_corrupt):
        prediction = model(batch)
        own_BL = end_frames(phases, view)
        inside_BL = own_BL < num_frames
        values[own_BL[inside_BL]] = prediction.values_BL2.numpy()[inside_BL]
        valid[own_BL[inside_BL]] = prediction.valid_BL.numpy()[inside_BL]
        kinds[own_BL[inside_BL]] = kind_BL2[inside_BL]
        for name, weights_BL in _gate_columns(prediction.gates):
            gates.setdefault(name, np.zeros(num_frames, np.float32))[own_BL[inside_BL]] = weights_BL[inside_BL]
    frames = segment.frames[segment.num_preroll :]
    face_ok = frames["face_ok"] & frames["video_ok"]
    values = np.clip(values, -1, 1)
    clock = ClockPredictions(frames["time_s"], values, valid, face_ok, frames["audio_ok"], gates)
    return replace(clock, corruption=kinds) if corruption else clock


def mask_modality(batch: AnyBatch, masked_modality: MaskedModality) -> AnyBatch:
    """`batch` with one modality masked at every step."""
    if masked_modality == "video":
        return replace(batch, video_ok_BL=torch.zeros_like(batch.video_ok_BL))
    if masked_modality == "audio":
        return replace(batch, audio_ok_BL=torch.zeros_like(batch.audio_ok_BL))
    return batch


def _ahead(
    groups: Iterable[tuple[int, ...]], cut_group: Callable[[Sequence[int]], _Cut]
) -> Iterator[tuple[tuple[int, ...], _Cut]]:
    """Each group of phases and its sequences; a thread cuts the next group while the caller uses the last."""
    pending: tuple[tuple[int, ...], Future[_Cut]] | None = None
    with ThreadPoolExecutor(1) as thread:
        for phases in groups:
            upcoming = phases, thread.submit(cut_group, phases)
            if pending:
                yield pending[0], pending[1].result()
            pending = upcoming
        if pending:
            yield pending[0], pending[1].result()


def _gate_columns(gates: dict[str, torch.Tensor]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each option of each gate as a named column (B, L) of weights."""
    for gate, weights_BLN in gates.items():
        for i, name in enumerate(option_names(gates, gate)):
            yield f"{gate}_{name}", weights_BLN[..., i].numpy()
