"""The papers' backbones: their names and shapes against the published architectures, and what freezing means."""

import dataclasses
import re

import pytest
import torch

from iaca_model.backbones.residual import ResidualAudio, ResidualVideo, r2plus1d_18, resnet_18
from iaca_model.config import InputSpec, ModelConfig
from iaca_model.model import EmotionModel
from tests.support.fake_batch import fake_batch

WIDTHS = (64, 64, 128, 256, 512)
# (2+1)-D intermediate widths of each stage's first and second block; a block's two convolutions share one.
MIDDLE = {1: (144, 144), 2: (230, 288), 3: (460, 576), 4: (921, 1152)}
R2PLUS1D_PARAMETERS, RESNET_PARAMETERS = 31_505_325, 11_689_512  # as published, with their classifiers


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    vectors = dict.fromkeys([f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")], (width,))
    return {**vectors, f"{name}.num_batches_tracked": ()}


def factored(name: str, num_in: int, num_mid: int, num_out: int) -> dict[str, tuple[int, ...]]:
    places = {f"{name}.0.weight": (num_mid, num_in, 1, 3, 3)}
    return {**places, **norm(f"{name}.1", num_mid), f"{name}.3.weight": (num_out, num_mid, 3, 1, 1)}


def published_r2plus1d() -> dict[str, tuple[int, ...]]:
    names = {"stem.0.weight": (45, 3, 1, 7, 7), **norm("stem.1", 45)}
    names |= {"stem.3.weight": (64, 45, 3, 1, 1), **norm("stem.4", 64)}
    for stage, block in ((stage, block) for stage in (1, 2, 3, 4) for block in (0, 1)):
        here, width = f"layer{stage}.{block}", WIDTHS[stage]
        num_in = WIDTHS[stage - 1] if block == 0 else width
        names |= factored(f"{here}.conv1.0", num_in, MIDDLE[stage][block], width) | norm(f"{here}.conv1.1", width)
        names |= factored(f"{here}.conv2.0", width, MIDDLE[stage][block], width) | norm(f"{here}.conv2.1", width)
        if stage > 1 and block == 0:
            names |= {f"{here}.downsample.0.weight": (width, num_in, 1, 1, 1), **norm(f"{here}.downsample.1", width)}
    return names


def published_resnet(num_channels: int) -> dict[str, tuple[int, ...]]:
    names = {"conv1.weight": (64, num_channels, 7, 7), **norm("bn1", 64)}
    for stage, block in ((stage, block) for stage in (1, 2, 3, 4) for block in (0, 1)):
        here, width = f"layer{stage}.{block}", WIDTHS[stage]
        num_in = WIDTHS[stage - 1] if block == 0 else width
        names |= {f"{here}.conv1.weight": (width, num_in, 3, 3), **norm(f"{here}.bn1", width)}
        names |= {f"{here}.conv2.weight": (width, width, 3, 3), **norm(f"{here}.bn2", width)}
        if stage > 1 and block == 0:
            names |= {f"{here}.downsample.0.weight": (width, num_in, 1, 1), **norm(f"{here}.downsample.1", width)}
    return names


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def num_parameters(names: dict[str, tuple[int, ...]]) -> int:
    trained = (shape for name, shape in names.items() if not re.search("running|tracked", name))
    return sum(torch.Size(shape).numel() for shape in trained)


def test_names_and_shapes_are_the_published_ones():
    assert shapes(r2plus1d_18()) == published_r2plus1d()
    assert shapes(resnet_18()) == published_resnet(num_channels=1)


def test_the_listings_count_as_many_parameters_as_published():
    assert num_parameters(published_r2plus1d()) + 400 * 513 == R2PLUS1D_PARAMETERS
    assert num_parameters(published_resnet(num_channels=3)) + 1000 * 513 == RESNET_PARAMETERS


@torch.no_grad()
def test_maps_have_the_published_sizes():
    assert r2plus1d_18().eval()(torch.zeros(1, 3, 8, 112, 112)).shape == (1, 512, 1, 7, 7)
    assert resnet_18().eval()(torch.zeros(1, 1, 64, 101)).shape == (1, 512, 2, 4)


@pytest.mark.parametrize("frozen", ["none", "partly", "all"])
def test_freezing_holds_weights_and_statistics(frozen):
    torch.manual_seed(0)
    spec = InputSpec(num_steps=2, num_frames=2, crop_px=16, num_hops=32, num_mels=32)
    model = EmotionModel(spec, ModelConfig(backbone="residual", frozen=frozen, feature_dim=8)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(fake_batch(spec, 3)).values_BL2.square().sum().backward()
    optimizer.step()
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    bodies = {re.split(r"\.body\.", name)[1].split(".")[0] for name in moved if ".body." in name}
    all_stages = {"stem", "conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    assert bodies == {"none": all_stages, "partly": {"layer4"}, "all": set()}[frozen]
    assert any("project" in name for name in moved)


def test_what_is_frozen_keeps_its_statistics_from_the_first_step_on():
    backbone = ResidualAudio(8, "all")  # as built: before train() or eval() is ever called
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone(torch.randn(2, 1, 32, 32))
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("frozen", ["none", "all"])
def test_masked_steps_do_not_reach_valid_ones_through_batch_statistics(frozen):
    torch.manual_seed(0)
    spec = InputSpec(num_steps=4, num_frames=2, crop_px=16, num_hops=32, num_mels=32)
    config = ModelConfig(backbone="residual", frozen=frozen, feature_dim=8, fusion_dropout=0.0, head_dropout=0.0)
    model, batch = EmotionModel(spec, config).train(), fake_batch(spec, 3)
    masked = ~batch.video_ok_BL[..., None, None, None, None]
    assert masked.any()
    other = dataclasses.replace(batch, frames_BLTHWC=batch.frames_BLTHWC.masked_fill(masked, 255))
    assert torch.equal(model(other).values_BL2, model(batch).values_BL2)


def test_a_wide_enough_model_takes_the_features_as_they_are():
    assert isinstance(ResidualVideo(512, "all").project, torch.nn.Identity)
    assert ResidualAudio(64, "all").project.weight.shape == (64, 512)
    with pytest.raises(ValueError, match="frozen is all but backbone tiny"):
        ModelConfig(frozen="all")
