"""The whole network: shapes, masks, modalities, and that it can learn."""

import dataclasses

import pytest
import torch

from iaca_model.batch import Batch
from iaca_model.config import PRESETS, InputSpec, ModelConfig
from iaca_model.model import EmotionModel, FeatureModel
from iaca_model.train_step import build_optimizer, train_step
from tests.support.fake_batch import fake_batch

SPEC = InputSpec(num_steps=4, num_frames=2, crop_px=32, num_mels=16, num_hops=24)


def make(name: str = "iaca", **changes) -> EmotionModel:
    torch.manual_seed(0)
    return EmotionModel(SPEC, dataclasses.replace(PRESETS[name], feature_dim=16, head_dim=8, joint_dim=16, **changes))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_predicts_and_every_trainable_parameter_gets_a_gradient(name):
    model, batch = make(name), fake_batch(SPEC, 3)
    prediction = model(batch)
    prediction.values_BL2.square().sum().backward()
    assert prediction.values_BL2.shape == (3, 4, 2)
    assert all(parameter.grad is not None for parameter in model.parameters()), "DDP would wait for it"
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_content_of_masked_steps_changes_nothing(name):
    model, batch = make(name).eval(), fake_batch(SPEC, 3)
    masked = ~batch.video_ok_BL[..., None, None, None, None]
    other = dataclasses.replace(
        batch,
        frames_BLTHWC=torch.where(masked, 255, batch.frames_BLTHWC).to(torch.uint8),
        mel_BLSM=batch.mel_BLSM.masked_fill(~batch.audio_ok_BL[..., None, None], float("nan")),
    )
    assert not batch.video_ok_BL.all()
    assert not batch.audio_ok_BL.all()
    torch.testing.assert_close(model(other).values_BL2, model(batch).values_BL2, rtol=0, atol=0)
    model(other).values_BL2.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("temporal", ["none", "blstm", "tcn"])
@pytest.mark.parametrize("content", [float("nan"), float("inf")])
def test_features_of_masked_steps_get_zero_gradient_whatever_lies_there(temporal, content):
    torch.manual_seed(0)
    config = ModelConfig(feature_dim=8, head_dim=8, joint_dim=8, temporal=temporal)
    model = FeatureModel(config.fusion(num_steps=4), config)
    ok = torch.rand(2, 3, 4) > 0.3
    video, audio = (torch.randn(3, 4, 8).masked_fill(~ok_BL[..., None], content).requires_grad_() for ok_BL in ok)
    assert not ok.all()
    model(video, audio, *ok).values_BL2.square().sum().backward()
    for features, ok_BL in zip((video, audio), ok, strict=True):
        assert features.grad is not None
        assert features.grad[ok_BL].any()
        assert torch.equal(features.grad[~ok_BL], torch.zeros_like(features.grad[~ok_BL]))


@pytest.mark.parametrize(("name", "modality"), [("video_only", "video"), ("audio_only", "audio")])
def test_a_single_modality_model_never_reads_the_other(name, modality):
    model, batch = make(name).eval(), fake_batch(SPEC, 3)
    blank = {
        "video": {"mel_BLSM": torch.zeros_like(batch.mel_BLSM)},
        "audio": {"frames_BLTHWC": torch.zeros_like(batch.frames_BLTHWC)},
    }
    other = dataclasses.replace(batch, **blank[modality])
    prediction = model(batch)
    torch.testing.assert_close(model(other).values_BL2, prediction.values_BL2, rtol=0, atol=0)
    assert torch.equal(prediction.valid_BL, batch.video_ok_BL if modality == "video" else batch.audio_ok_BL)


def test_steps_with_neither_modality_are_invalid_and_zero():
    batch = fake_batch(SPEC, 2)
    nothing = torch.zeros_like(batch.video_ok_BL)
    prediction = make()(dataclasses.replace(batch, video_ok_BL=nothing, audio_ok_BL=nothing))
    assert not prediction.valid_BL.any()
    assert torch.equal(prediction.values_BL2, torch.zeros(2, 4, 2))


def test_a_sequence_of_another_length_is_refused_with_both_shapes():
    batch = Batch(*(tensor[:, :3] for tensor in fake_batch(SPEC, 2).tensors()))
    with pytest.raises(ValueError, match=r"\(3, 2, 32, 32, 3\).*made for \(4, 2, 32, 32, 3\).*pad a shorter"):
        make()(batch)


def test_batch_slices_and_moves():
    batch = fake_batch(SPEC, 5, seed=1)
    assert len(batch.slice(1, 3)) == 2
    assert batch.num_steps == 4
    assert torch.equal(batch.slice(1, 3).to("cpu").mel_BLSM, batch.mel_BLSM[1:3])
    assert not batch.target_BL2[~batch.target_ok_BL].any()
    assert torch.equal(fake_batch(SPEC, 5, seed=1).frames_BLTHWC, batch.frames_BLTHWC)


def brightness_and_loudness_batch(seed: int) -> Batch:
    batch = fake_batch(SPEC, 8, seed=seed)
    light = 90 + 60 * batch.target_BL2[..., 0, None, None, None, None]
    frames = (batch.frames_BLTHWC.float() / 8 + light).clamp(0, 255).to(torch.uint8)
    mel = batch.mel_BLSM + 20 * batch.target_BL2[..., 1, None, None]
    return dataclasses.replace(batch, frames_BLTHWC=frames, mel_BLSM=mel)


def test_it_learns_from_pictures_and_sound():
    model = EmotionModel(SPEC, ModelConfig(feature_dim=16, head_dim=16))
    optimizer = build_optimizer(model, learning_rate=3e-3, weight_decay=0.0)
    losses = [train_step(model, brightness_and_loudness_batch(seed), optimizer, clip_norm=1.0) for seed in range(80)]
    assert sum(losses[-10:]) / 10 < 0.5 * losses[0]


def preset_on(name: str, spec: InputSpec) -> tuple[EmotionModel, Batch]:
    torch.manual_seed(0)
    config = dataclasses.replace(PRESETS[name], feature_dim=16, head_dim=8, joint_dim=8)
    return EmotionModel(spec, config).eval(), fake_batch(spec, 2)


@pytest.mark.parametrize("name", PRESETS)
def test_every_whole_preset_is_one_graph(name):
    torch._dynamo.reset()
    spec = InputSpec(num_steps=3, num_frames=2, crop_px=16, num_mels=16, num_hops=16)
    model, batch = preset_on(name, spec)
    # A recurrent network is left to its own kernel: dynamo goes around it.
    whole = model.config.temporal != "blstm"
    with torch.no_grad():
        compiled_output = torch.compile(model, fullgraph=whole, backend="eager")(batch)
        torch.testing.assert_close(compiled_output.values_BL2, model(batch).values_BL2)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_whole_preset_compiles_to_the_same_numbers(name):
    torch._dynamo.reset()
    model, batch = preset_on(name, InputSpec(num_steps=3, num_frames=2, crop_px=16, num_mels=16, num_hops=16))
    compiled = torch.compile(model)
    torch.testing.assert_close(compiled(batch).values_BL2, model(batch).values_BL2, rtol=1e-4, atol=1e-5)
    compiled(batch).values_BL2.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.features.parameters() if p.requires_grad)
