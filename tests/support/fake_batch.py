"""A batch of random numbers in the form that the network reads."""

from __future__ import annotations

import torch

from iaca_model.batch import Batch
from iaca_model.config import InputSpec


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
