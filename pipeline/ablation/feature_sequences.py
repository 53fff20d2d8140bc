"""Sequences of features of both modalities with their labels and corruption, the data of a trial.

Shape letters, used across the package: N sequences, L steps, D feature width, M selected steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class TrialSequences:
    """N sequences of features of both modalities, with their labels and what was corrupted."""

    video_NLD: Tensor
    audio_NLD: Tensor
    target_NL2: Tensor  # valence, arousal
    kind_NL2: Tensor  # uint8 by video, audio: index into KINDS, or HEALTHY; no input of the model
    ok_NL2: Tensor  # bool by video, audio: the modality is present; the model's masks
    labelled_NL: Tensor  # bool: the step has a label
    group_N: Tensor  # number of the group (the person); features are swapped between groups

    def __len__(self) -> int:
        return len(self.target_NL2)

    def take(self, indices: Tensor) -> TrialSequences:
        """Take the sequences at these indices, with their features as float32."""
        taken = TrialSequences(*(getattr(self, field.name)[indices] for field in fields(self)))
        return replace(taken, video_NLD=taken.video_NLD.float(), audio_NLD=taken.audio_NLD.float())

    def to(self, device: str) -> TrialSequences:
        """Move all tensors to `device`."""
        return TrialSequences(*(getattr(self, field.name).to(device) for field in fields(self)))

    def without_features(self) -> TrialSequences:
        """Drop the features, which take most of the memory: D becomes 0."""
        return replace(self, video_NLD=self.video_NLD[..., :0], audio_NLD=self.audio_NLD[..., :0])


class SequenceSource(Protocol):
    """Sequences that are taken by their indices: TrialSequences, or `corruption.CorruptedSource`."""

    def __len__(self) -> int:
        """N."""

    def take(self, indices: Tensor) -> TrialSequences:
        """Take the sequences at these indices; the same indices give the same sequences each time."""


def concatenate(parts: Sequence[TrialSequences]) -> TrialSequences:
    """Concatenate the sequences of all parts."""
    names = [field.name for field in fields(TrialSequences)]
    return TrialSequences(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def evenly_spaced(source: SequenceSource, max_count: int) -> TrialSequences:
    """Take at most `max_count` sequences, evenly spaced over all of them."""
    count = min(max_count, len(source))
    return source.take(torch.arange(count) * len(source) // count)


@dataclass(frozen=True, eq=False)
class TrialData:
    """The data on which one trial is trained and measured."""

    train: SequenceSource
    clean: SequenceSource
    corrupted: SequenceSource  # the same sequences as `clean`
    curve: TrialSequences  # for the curve of missing sound
    selection: tuple[SequenceSource, ...] = ()  # select the best moment of training; none: the last moment is taken
    counts: dict[str, Any] = field(default_factory=dict)  # by split, for the report; empty for the benchmark
