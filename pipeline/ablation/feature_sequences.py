"""Sequences of features of both modalities, with the truth about them.

Shape letters, used across the package: N sequences, L steps, D feature width, M chosen steps. True in a mask: there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor

KINDS = ("missing", "noisy", "swapped")
HEALTHY = 3  # the index after the last kind


@dataclass(frozen=True, eq=False)
class Sequences:
    """N sequences of both modalities with the truth about them."""

    video_NLD: Tensor
    audio_NLD: Tensor
    target_NL2: Tensor  # valence, arousal
    kind_NL2: Tensor  # uint8 by video, audio: index into KINDS, or HEALTHY; nobody is told
    ok_NL2: Tensor  # bool by video, audio: the modality is there, and the model is told where it is not
    labelled_NL: Tensor  # bool: the target is known
    group_N: Tensor  # whose sequence it is, as a number; features are swapped between groups

    def __len__(self) -> int:
        return len(self.target_NL2)

    def take(self, rows: Tensor) -> Sequences:
        """The sequences at these indices, their features as float32."""
        chosen = Sequences(*(getattr(self, field.name)[rows] for field in fields(self)))
        return replace(chosen, video_NLD=chosen.video_NLD.float(), audio_NLD=chosen.audio_NLD.float())

    def to(self, device: str) -> Sequences:
        """The same on `device`."""
        return Sequences(*(getattr(self, field.name).to(device) for field in fields(self)))

    def truth(self) -> Sequences:
        """The same without the features: D is 0."""
        return replace(self, video_NLD=self.video_NLD[..., :0], audio_NLD=self.audio_NLD[..., :0])


class Source(Protocol):
    """What gives sequences by their indices: Sequences themselves, or those that are corrupted as they are taken."""

    def __len__(self) -> int:
        """N."""

    def take(self, rows: Tensor) -> Sequences:
        """The sequences at these indices, the same ones each time."""


def joined(parts: Sequence[Sequences]) -> Sequences:
    """The sequences of all parts, one after another."""
    return Sequences(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Sequences)))


def spread(source: Source, most: int) -> Sequences:
    """At most `most` sequences, evenly spaced over all of them."""
    count = min(most, len(source))
    return source.take(torch.arange(count) * len(source) // count)


@dataclass(frozen=True, eq=False)
class TrialData:
    """What one trial learns from and is measured on."""

    train: Source
    clean: Source
    corrupted: Source  # the same sequences as `clean`
    curve: Sequences  # those whose sound is taken away, share by share
    choosing: tuple[Source, ...] = ()  # on which the best moment of training is chosen; none: it is the last
    facts: dict[str, Any] = field(default_factory=dict)  # about the data, for the report
