"""The network's input: Batch, of face crops and spectrograms, and FeatureBatch, of precomputed backbone features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


class _TensorBatch:
    """Operations on B sequences of L steps that Batch and FeatureBatch share; every field is a tensor (B, L, ...)."""

    video_ok_BL: Tensor  # a field of both classes below

    def __len__(self) -> int:
        return len(self.video_ok_BL)

    @property
    def num_steps(self) -> int:
        """L."""
        return self.video_ok_BL.shape[1]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Move the batch to `device`."""
        return type(self)(*(tensor.to(device, non_blocking=non_blocking) for tensor in self.tensors()))

    def slice(self, start: int, stop: int) -> Self:
        """Take the sequences from `start` up to, not including, `stop`, as views."""
        return type(self)(*(tensor[start:stop] for tensor in self.tensors()))

    def take(self, indices: Tensor) -> Self:
        """Take the sequences at `indices`, as copies."""
        return type(self)(*(tensor.index_select(0, indices) for tensor in self.tensors()))

    def tensors(self) -> tuple[Tensor, ...]:
        """The fields in order."""
        return tuple(vars(self).values())


@dataclass(frozen=True, eq=False)
class Batch(_TensorBatch):
    """B sequences of L steps; a step is one sub-clip that ends at the frame whose label is the target.

                       step 0        step 1                    step L-1
        video   [T crops of H x W] [T crops ]    ...         [T crops ]    video_ok: True, faces are visible
        audio   [S hops of M mels] [S hops  ]    ...         [S hops  ]    audio_ok: True, real sound is present
        target  (valence, arousal) ...                                     target_ok: True, there is a label

        field          dtype    shape               content
        frames_BLTHWC  uint8    (B, L, T, H, W, 3)  RGB crops of the face, the last is the labelled frame; 0 if absent
        mel_BLSM       float32  (B, L, S, M)        log-mel in raw dB, oldest hop first
        video_ok_BL    bool     (B, L)
        audio_ok_BL    bool     (B, L)
        target_BL2     float32  (B, L, 2)           valence, arousal in [-1, 1]; 0 where target_ok is False, never NaN
        target_ok_BL   bool     (B, L)

    The mel is neither clipped nor normalised here: the model clips each sub-clip at 80 dB below its own maximum and
    maps x to (x + 14.8) / 19.895. The content of a step whose mask is False has no influence. A sequence shorter than
    L is padded on the right with all masks False.
    """

    frames_BLTHWC: Tensor
    mel_BLSM: Tensor
    video_ok_BL: Tensor
    audio_ok_BL: Tensor
    target_BL2: Tensor
    target_ok_BL: Tensor


@dataclass(frozen=True, eq=False)
class FeatureBatch(_TensorBatch):
    """A Batch after its backbones: the features of each sub-clip take the place of its crops and its spectrogram.

    field         dtype    shape         content
    video_BLD     float32  (B, L, D_v)   features of the face, not normalised
    audio_BLD     float32  (B, L, D_a)   features of the sound, not normalised

    Masks and targets are those of Batch.
    """

    video_BLD: Tensor
    audio_BLD: Tensor
    video_ok_BL: Tensor
    audio_ok_BL: Tensor
    target_BL2: Tensor
    target_ok_BL: Tensor


AnyBatch = Batch | FeatureBatch
