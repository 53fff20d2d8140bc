"""What bfloat16 may touch and what it may not, and that what was rearranged for speed is what the papers say."""

import dataclasses

import pytest
import torch

from iaca_model.config import PRESETS, InputSpec, ModelConfig
from iaca_model.model import EmotionModel, FeatureModel
from iaca_model.temporal import temporal_block
from iaca_model.train_step import build_optimizer, train_step
from tests.benchmarks.transcription import Transcription
from tests.iaca_model.test_front import disturb
from tests.support.fake_batch import fake_batch

NAMES = ("ca", "jca", "rjca", "dca", "iaca", "tca", "grjca", "hgrjca", "tagf", "iaca+", "jca+", "ca+")
SPEC = InputSpec(num_steps=4, num_frames=2, crop_px=32, num_mels=16, num_hops=24)
NUM, STEPS, DIM = 3, 6, 16


def make(name):
    torch.manual_seed(0)
    config = dataclasses.replace(PRESETS[name], feature_dim=DIM, head_dim=8, joint_dim=16, gate_init="xavier")
    model = FeatureModel(config.fusion(STEPS), config).eval()
    if model.fusion.front:
        disturb(model.fusion.front)
    return model


def inputs():
    ok = torch.ones(NUM, STEPS, dtype=torch.bool)
    return (*torch.randn(2, NUM, STEPS, DIM, generator=torch.Generator().manual_seed(1)), ok, ok)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_follows_its_equations(name):
    model = make(name)
    written, (video, audio, video_ok, audio_ok) = Transcription(model).eval(), inputs()
    output, expected = model(video, audio, video_ok, audio_ok).values_BL2, written(video, audio)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    output.square().sum().backward()
    expected.square().sum().backward()
    for (_, ours), (_, theirs) in zip(model.named_parameters(), written.model.named_parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)
    front = model.fusion.front.parameters() if model.fusion.front else []
    assert all(p.grad.abs().max() > 1e-3 for p in front), "the front's gradients are too small to be compared"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_after_the_backbones_changes_under_autocast(name):
    model = make(name)
    expected = model(*inputs())
    with torch.autocast("cpu", torch.bfloat16):
        output, fused = model(*inputs()), model.fusion(*inputs())
    assert fused.fused_BLF.dtype == torch.float32
    assert torch.equal(output.values_BL2, expected.values_BL2)
    for gate, weights in output.gates.items():
        assert torch.equal(weights, expected.gates[gate])
        torch.testing.assert_close(weights.sum(-1), torch.ones(NUM, STEPS))


@pytest.mark.parametrize("name", NAMES)
def test_features_in_bfloat16_are_widened(name):
    model, (video, audio, *masks) = make(name), inputs()
    narrow = video.bfloat16(), audio.bfloat16()
    output, expected = model(*narrow, *masks), model(*(features.float() for features in narrow), *masks)
    assert torch.equal(output.values_BL2, expected.values_BL2)


def test_a_blstm_on_its_own_stays_in_float32():
    torch.manual_seed(0)
    block, (video, _, ok, _) = temporal_block("blstm", DIM, DIM, 0.0), inputs()
    with torch.autocast("cpu", torch.bfloat16):
        output = block(video, ok)
    assert torch.equal(output, block(video, ok))


@pytest.mark.parametrize("backbone", ["tiny", "residual"])
def test_a_step_in_bfloat16_is_close_to_one_in_float32_and_leaves_float32_weights(backbone):
    losses, batch = {}, fake_batch(SPEC, 3)
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        config = ModelConfig(backbone=backbone, feature_dim=16, fusion_dropout=0, head_dropout=0)
        model = EmotionModel(SPEC, config)
        optimizer = build_optimizer(model, learning_rate=1e-3, weight_decay=0)
        losses[precision] = train_step(model, batch, optimizer, clip_norm=1.0, precision=precision)
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.05)
    assert losses["bfloat16"] != losses["float32"], "bfloat16 changed nothing: was it used?"
