"""Weights for the backbones: right ones are taken entirely, wrong ones refused with what is wrong."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from iaca_model.backbones.residual import resnet_18
from iaca_model.config import InputSpec, ModelConfig
from iaca_model.model import EmotionModel
from pipeline.config import UsageError
from pipeline.config.job_sections import WeightsConfig
from pipeline.training.published_weights import load_published_weights

SPEC = InputSpec(num_steps=2, num_frames=2, crop_px=16, num_hops=32, num_mels=32)


@pytest.fixture(scope="module")
def model() -> EmotionModel:
    return EmotionModel(SPEC, ModelConfig(backbone="residual", feature_dim=8, modalities="audio"))


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    classifier = {"fc.weight": torch.randn(10, 512), "fc.bias": torch.randn(10)}
    return {**resnet_18().state_dict(), **classifier}


def stored(weights: dict[str, torch.Tensor], path: Path) -> WeightsConfig:
    if path.suffix == ".safetensors":
        data = safetensors.torch.save({name: tensor.contiguous() for name, tensor in weights.items()})
    else:
        buffer = io.BytesIO()
        torch.save(weights, buffer)
        data = buffer.getvalue()
    path.write_bytes(data)
    return WeightsConfig(audio=str(path), audio_sha256=hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_published_weights_are_taken_and_their_classifier_left(model, weights, tmp_path, name):
    load_published_weights(model, stored(weights, tmp_path / name))
    body = model.audio_backbone.body.state_dict()
    assert all(torch.equal(body[key], weights[key]) for key in body)


def test_an_older_file_without_batch_counters_is_taken(model, weights, tmp_path):
    older = {name: tensor for name, tensor in weights.items() if "num_batches" not in name}
    load_published_weights(model, stored(older, tmp_path / "w.pth"))


def test_what_does_not_match_is_named_and_nothing_is_loaded(model, weights, tmp_path):
    before = {name: tensor.clone() for name, tensor in model.audio_backbone.body.state_dict().items()}
    three_channels = {**weights, "conv1.weight": torch.zeros(64, 3, 7, 7), "extra": torch.zeros(1)}
    del three_channels["bn1.bias"]
    expected = r"1 missing: bn1.bias; 1 unknown: extra; 1 of another shape: conv1.weight \(64, 3, 7, 7\) for \(64, 1, 7"
    with pytest.raises(UsageError, match=expected):
        load_published_weights(model, stored(three_channels, tmp_path / "w.pth"))
    after = model.audio_backbone.body.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_other_bytes_missing_files_and_other_backbones_are_refused(model, weights, tmp_path):
    settings = stored(weights, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"weights\.audio .* has sha256 [0-9a-f]{64}, but .*_sha256 is abc"):
        load_published_weights(model, replace(settings, audio_sha256="abc"))
    with pytest.raises(UsageError, match="cannot be read"):
        load_published_weights(model, WeightsConfig(audio=str(tmp_path / "nowhere.pth")))
    with pytest.raises(UsageError, match="no residual video backbone"):
        load_published_weights(model, WeightsConfig(video=settings.audio))


def test_a_file_that_is_no_weights_is_refused(model, tmp_path):
    for name in ("w.safetensors", "w.pth"):
        path = tmp_path / name
        path.write_bytes(b"not weights")
        settings = WeightsConfig(audio=str(path), audio_sha256=hashlib.sha256(b"not weights").hexdigest())
        with pytest.raises(UsageError, match="holds no weights"):
            load_published_weights(model, settings)


def test_a_frozen_backbone_needs_weights():
    frozen = EmotionModel(SPEC, ModelConfig(backbone="residual", feature_dim=8, modalities="audio", frozen="partly"))
    with pytest.raises(UsageError, match=r"model\.frozen is partly, but weights\.audio is empty"):
        load_published_weights(frozen, WeightsConfig())
    load_published_weights(EmotionModel(SPEC, ModelConfig(feature_dim=8)), WeightsConfig())
