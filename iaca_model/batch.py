"""Batch, the one data format that the network reads, with crops and sound or with features made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from iaca_model.config import InputSpec


class _Sequences:
    """What can be done with B sequences of L steps, whatever stands for their pictures and their sound."""

    video_ok_BL: Tensor  # of the classes below

    def __len__(self) -> int:
        return len(self.video_ok_BL)

    @property
    def num_steps(self) -> int:
        """L."""
        return self.video_ok_BL.shape[1]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same batch on `device`."""
        return type(self)(*(tensor.to(device, non_blocking=non_blocking) for tensor in self.tensors()))

    def slice(self, start: int, stop: int) -> Self:
        """Sequences `start` up to, not including, `stop`, as views."""
        return type(self)(*(tensor[start:stop] for tensor in self.tensors()))

    def tensors(self) -> tuple[Tensor, ...]:
        """The fields in order."""
        return tuple(vars(self).values())


@dataclass(frozen=True, eq=False)
class Batch(_Sequences):
    """B sequences of L steps; a step is one sub-clip that ends at the frame whose label is the target.

                       step 0        step 1                    step L-1
        video   [T crops of H x W] [T crops ]    ...         [T crops ]    video_ok: True, real faces were seen
        audio   [S hops of M mels] [S hops  ]    ...         [S hops  ]    audio_ok: True, real sound was there
        target  (valence, arousal) ...                                     target_ok: True, somebody labelled it

        field          dtype    shape               content
        frames_BLTHWC  uint8    (B, L, T, H, W, 3)  RGB crops of the face, the last is the labelled frame; 0 if absent
        mel_BLSM       float32  (B, L, S, M)        log-mel in raw dB, oldest hop first
        video_ok_BL    bool     (B, L)
        audio_ok_BL    bool     (B, L)
        target_BL2     float32  (B, L, 2)           valence, arousal in [-1, 1]; 0 where target_ok is False, never NaN
        target_ok_BL   bool     (B, L)

    The mel is neither clipped nor normalised here: the model clips each sub-clip at 80 dB below its own maximum and
    maps x to (x + 14.8) / 19.895. What lies at a step whose mask is False is never looked at. A sequence shorter than
    L is padded on the right with all masks False.
    """

    frames_BLTHWC: Tensor
    mel_BLSM: Tensor
    video_ok_BL: Tensor
    audio_ok_BL: Tensor
    target_BL2: Tensor
    target_ok_BL: Tensor


@dataclass(frozen=True, eq=False)
class FeatureBatch(_Sequences):
    """A Batch after its backbones: what they gave for each sub-clip stands in place of its crops and its sound.

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


def fake_batch(spec: InputSpec, batch_size: int, seed: int = 0) -> Batch:
    """Random data of the right form, with about one step in eight missing per modality and one label in ten."""
    generator = torch.Generator().manual_seed(seed)
    steps = (batch_size, spec.num_steps)
    crop = (spec.num_frames, spec.crop_px, spec.crop_px, 3)
    video_ok, audio_ok = (torch.rand(steps, generator=generator) > 1 / 8 for _ in range(2))
    target_ok = torch.rand(steps, generator=generator) > 1 / 10
    frames = torch.randint(0, 256, (*steps, *crop), dtype=torch.uint8, generator=generator)
    mel = 15 * torch.randn(*steps, spec.num_hops, spec.num_mels, generator=generator) - 30
    target = 2 * torch.rand(*steps, 2, generator=generator) - 1
    return Batch(
        frames_BLTHWC=frames * video_ok[..., None, None, None, None],
        mel_BLSM=mel,
        video_ok_BL=video_ok,
        audio_ok_BL=audio_ok,
        target_BL2=target * target_ok[..., None],
        target_ok_BL=target_ok,
    )
