"""The backbones: sizes, independence of steps, and that position, motion, pitch and loudness survive."""

import pytest
import torch
from torch import nn

from iaca_model.backbones.normalisation import normalise_mel
from iaca_model.backbones.tiny import TinyAudio, TinyVideo
from iaca_model.config import InputSpec
from tests.support.fake_batch import fake_batch


@pytest.mark.parametrize("sizes", [(112, 8, 64, 128), (64, 1, 40, 100), (33, 3, 17, 5), (16, 2, 1, 1)])
def test_any_size_of_input(sizes):
    crop_px, num_frames, num_mels, num_hops = sizes
    spec = InputSpec(2, num_frames, crop_px, num_mels, num_hops)
    batch = fake_batch(spec, 2)
    for features in (TinyVideo(spec, 10)(batch.frames_BLTHWC), TinyAudio(spec, 10)(batch.mel_BLSM)):
        assert features.shape == (2, 2, 10)
        assert features.isfinite().all()


def test_steps_do_not_see_each_other():
    spec = InputSpec(num_steps=4, num_frames=2, crop_px=32, num_mels=16, num_hops=20)
    batch, other = fake_batch(spec, 2), fake_batch(spec, 2, seed=1)
    for network, field in ((TinyVideo(spec, 8), "frames_BLTHWC"), (TinyAudio(spec, 8), "mel_BLSM")):
        mixed = getattr(batch, field).clone()
        mixed[:, 2] = getattr(other, field)[:, 2]
        kept = [0, 1, 3]
        torch.testing.assert_close(network(mixed)[:, kept], network(getattr(batch, field))[:, kept])


def test_no_batch_norm():
    spec = InputSpec()
    for network in (TinyVideo(spec, 8), TinyAudio(spec, 8)):
        assert not any(isinstance(module, nn.modules.batchnorm._NormBase) for module in network.modules())


def test_mel_is_clipped_80_db_below_its_own_maximum_and_scaled():
    mel = torch.tensor([[[[-20.0, -99.0], [-101.0, -300.0]], [[-90.0, -60.0], [-60.0, -150.0]]]])
    expected = torch.tensor([[[[-20.0, -99.0], [-100.0, -100.0]], [[-90.0, -60.0], [-60.0, -140.0]]]])
    torch.testing.assert_close(normalise_mel(mel), (expected + 14.8) / 19.895)


def fit(network: nn.Module, draw, num_updates: int) -> float:
    """Mean squared error on fresh data after a short training, as a share of the target's variance."""
    head = nn.Linear(16, 1)
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=3e-3)
    for step in range(num_updates):
        inputs, target = draw(step)
        loss = (head(network(inputs))[..., 0] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    inputs, target = draw(10**6)
    with torch.no_grad():
        return ((head(network(inputs))[..., 0] - target).square().mean() / target.var()).item()


def draw_mouths(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A dark bar on noise whose ends rise or fall with the target, as the corners of a mouth."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(16, 1, generator=generator) * 2 - 1
    x = torch.linspace(-1, 1, 48)
    centre = 0.3 - 0.4 * target[..., None] * (x**2 - 0.3)  # (16, 1, 48): height of the bar at each column
    dark = ((x[:, None] - centre[..., None, :]).abs() < 0.12) & (x.abs() < 0.6)  # (16, 1, 48 rows, 48 columns)
    noise = torch.rand(16, 1, 1, 48, 48, 3, generator=generator)
    return (150 + 50 * noise - 100 * dark[:, :, None, ..., None]).to(torch.uint8), target


def draw_tones(seed: int, *, loudness: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """A band on a noisy floor: the target is its place (pitch), or how loud the whole is."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(16, 1, generator=generator) * 2 - 1
    place = torch.rand(16, 1, generator=generator) * 2 - 1 if loudness else target
    band = torch.exp(-((torch.linspace(-1.5, 1.5, 32) - place[..., None]) ** 2) / 0.02)
    mel = -60 + 40 * band[:, :, None] + 4 * torch.randn(16, 1, 40, 32, generator=generator)
    return mel + 10 * target[..., None, None] * loudness, target


def test_video_reads_the_shape_of_a_mouth():
    torch.manual_seed(0)
    assert fit(TinyVideo(InputSpec(1, 1, 48, 4, 4), 16), draw_mouths, 80) < 0.15


@pytest.mark.parametrize("loudness", [True, False])
def test_audio_reads_pitch_and_loudness(loudness):
    torch.manual_seed(0)
    network = TinyAudio(InputSpec(1, 1, 16, 32, 40), 16)
    assert fit(network, lambda seed: draw_tones(seed, loudness=loudness), 80) < 0.15


def test_motion_is_seen_though_every_crop_looks_alike_on_average():
    spec = InputSpec(1, 4, 16, 4, 4)
    network = TinyVideo(spec, 8)
    light, dark = torch.full((16, 16, 3), 200, dtype=torch.uint8), torch.full((16, 16, 3), 50, dtype=torch.uint8)
    fast, slow = torch.stack([dark, light, dark, light]), torch.stack([dark, dark, light, light])
    found = network(torch.stack([fast, slow])[:, None])
    assert not torch.allclose(found[0], found[1])
