"""What of a training step is fusion, and what bfloat16 and channels last bring its backbones.

Every number is processor time on one thread, the rivals turn by turn; ratios are medians over the turns.
"""

import dataclasses

import pytest
import torch

from iaca_model.backbones.residual import ResidualAudio, ResidualVideo
from iaca_model.backbones.tiny import TinyAudio, TinyVideo
from iaca_model.config import PRESETS, InputSpec
from iaca_model.model import EmotionModel
from iaca_model.train_step import build_optimizer, train_step
from tests.benchmarks.test_fusion_speed import NAMES, features, learning, ms, ratio, turns
from tests.support.fake_batch import fake_batch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.usefixtures("one_thread")]
SPEC = InputSpec()
PAYING = ("R(2+1)D-18", "ResNet-18")


@pytest.mark.parametrize("backbone", ["tiny", "residual"])
def test_share_of_the_step_in_fusion(backbone, table):
    """Residual backbones are frozen, as the papers' are, and see one sequence; fusion is everything after them."""
    changes = {"residual": {"feature_dim": 512, "joint_dim": 512, "frozen": "all"}, "tiny": {}}[backbone]
    num_sequences, num_turns = (1, 1) if backbone == "residual" else (4, 5)
    batch = fake_batch(SPEC, num_sequences)
    for name in NAMES:
        model = EmotionModel(SPEC, dataclasses.replace(PRESETS[name], backbone=backbone, **changes)).train()
        optimizer = build_optimizer(model, learning_rate=1e-4, weight_decay=0.0)
        inputs = features(model.config.feature_dim, SPEC.num_steps, num_sequences)
        step = lambda model=model, optimizer=optimizer: train_step(model, batch, optimizer, clip_norm=1.0)  # noqa: E731
        taken = turns({"step": step, "fusion": learning(model.features, *inputs)}, num_turns)
        share = ratio(taken, "fusion", "step")
        table.add(f"{name}, share of a step with {backbone} backbones", ms(taken["fusion"]), ms(taken["step"]), share)
        assert share < (0.1 if backbone == "residual" else 1)


def backbones():
    batch = fake_batch(SPEC, 1)
    frames, mel = batch.frames_BLTHWC[:, :2], batch.mel_BLSM
    yield "R(2+1)D-18", ResidualVideo(512, "none"), frames, torch.channels_last_3d
    yield "ResNet-18", ResidualAudio(512, "none"), mel, torch.channels_last
    yield "tiny video", TinyVideo(SPEC, 64), batch.frames_BLTHWC, torch.channels_last
    yield "tiny audio", TinyAudio(SPEC, 64), mel, torch.channels_last


class Narrow(torch.nn.Module):
    """A backbone in bfloat16."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.body(x).float()


@pytest.mark.parametrize("name", ["R(2+1)D-18", "ResNet-18", "tiny video", "tiny audio"])
def test_bfloat16_in_the_backbones(name, table):
    backbone, inputs = next((module, x) for found, module, x, _ in backbones() if found == name)
    narrow = Narrow(backbone)

    def looking(model):
        def call():
            with torch.inference_mode():
                model(inputs)

        return call

    for what, way in (("forward", looking), ("forward and backward", lambda model: learning(model, inputs))):
        taken = turns({"float32": way(backbone), "bfloat16": way(narrow)}, 3)
        found = ratio(taken, "float32", "bfloat16")
        least = 1.0 if name in PAYING and torch.cpu._is_avx512_bf16_supported() else 0.4
        compared = f"float32: {ms(taken['float32'])}"
        table.add(f"{name} in bfloat16, {what}", ms(taken["bfloat16"]), compared, found, f">= {least}")
        assert found >= least


@pytest.mark.parametrize("name", ["R(2+1)D-18", "ResNet-18"])
def test_channels_last_in_the_body(name, table):
    backbone, layout = next((module, layout) for found, module, _, layout in backbones() if found == name)
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 8, 112, 112) if layout == torch.channels_last_3d else torch.randn(16, 1, 64, 125)
    last, first = backbone.body.eval(), {"memory_format": torch.contiguous_format}
    plain = type(backbone)(512, "none").body.to(**first).eval()
    plain.load_state_dict(last.state_dict())
    last_maps = maps.contiguous(memory_format=layout)
    torch.testing.assert_close(last(last_maps), plain(maps), rtol=1e-4, atol=1e-4)

    def looking(model, inputs):
        def call():
            with torch.inference_mode():
                model(inputs)

        return call

    for what, way in (("forward", looking), ("forward and backward", learning)):
        taken = turns({"last": way(last, last_maps), "plain": way(plain, maps)}, 3)
        found = ratio(taken, "plain", "last")
        table.add(f"{name} channels last, {what}", ms(taken["last"]), f"contiguous: {ms(taken['plain'])}", found)
        assert found >= 0.9, "channels last costs time here: leave the layout alone"
