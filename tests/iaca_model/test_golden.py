"""The released research modules' numbers, reproduced to 1e-5. `IACA_GOLDEN` names another folder of the same form."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from iaca_model.config import FusionConfig, ModelConfig
from iaca_model.fusion import Fusion
from iaca_model.model import FeatureModel
from iaca_model.temporal import BLSTM

FOLDER = Path(os.environ.get("IACA_GOLDEN") or Path(__file__).parent / "golden")
LITERAL = {"gate_relu": True, "gate_init": "xavier", "temperature": 0.1}
GATE_PARTS = {"": "{m}.gate", "_stage1": "{m}.first.gate", "_stage2": "{m}.second.gate", "_stage": "{m}.last.gate"}


def golden(name: str) -> dict[str, Tensor]:
    path = FOLDER / f"{name}.npz"
    assert path.is_file(), f"{path} is missing; every golden file must be there"
    with np.load(path, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def depth(numbers: dict[str, Tensor], pattern: str) -> int:
    return len({match[1] for key in numbers if (match := re.match(pattern, key))})


def sizes(numbers: dict[str, Tensor]) -> dict[str, int]:
    (_, num_steps, video_dim), (_, _, audio_dim) = numbers["video"].shape, numbers["audio"].shape
    return {"video_dim": video_dim, "audio_dim": audio_dim, "num_steps": num_steps}


def load(module: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    module.load_state_dict(weights, strict=True)
    return module.eval()


def recursion_weights(numbers: dict[str, Tensor]) -> dict[str, Tensor]:
    """`layer0.key_video.weight` -> `layers.0.video.key.weight`; the shared `joint` keeps its name."""
    renamed = {}
    for key, value in numbers.items():
        if match := re.fullmatch(r"layer(\d+)\.joint\.(\w+)", key):
            renamed[f"layers.{match[1]}.joint.{match[2]}"] = value
        elif match := re.fullmatch(r"layer(\d+)\.(key|value|out)_(video|audio)\.(\w+)", key):
            renamed[f"layers.{match[1]}.{match[3]}.{match[2]}.{match[4]}"] = value
    return renamed


def gate_weights(numbers: dict[str, Tensor]) -> dict[str, Tensor]:
    """`gate_video_stage1.weight` -> `gate.video.first.gate.linear.weight`, and so on."""
    renamed = {}
    for key, value in numbers.items():
        if match := re.fullmatch(r"gate_(video|audio)(_stage\d?)?\.(\w+)", key):
            part = GATE_PARTS[match[2] or ""].format(m=match[1])
            renamed[f"gate.{part}.linear.{match[3]}"] = value
    return renamed


def block_weights(numbers: dict[str, Tensor], block: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{block}."): value for key, value in numbers.items() if key.startswith(f"{block}.")}


def make_blstm(numbers: dict[str, Tensor], block: str) -> BLSTM:
    weights = block_weights(numbers, block)
    output_dim, joined_dim = weights["linear.weight"].shape
    num_layers = depth(weights, r"rnn\.weight_ih_l(\d+)$")
    return load(BLSTM(joined_dim - output_dim, output_dim, num_layers), weights)


def make_fusion(numbers: dict[str, Tensor], gate: str) -> Fusion:
    config = FusionConfig(**sizes(numbers), gate=gate, num_recursions=depth(numbers, r"layer(\d+)\."), **LITERAL)
    return load(Fusion(config), recursion_weights(numbers) | gate_weights(numbers))


def make_feature_model(numbers: dict[str, Tensor], gate: str) -> FeatureModel:
    """The whole network, built with the sizes in the file; its parts take the file's weights one by one."""
    fusion = make_fusion(numbers, gate)
    joint_dim, head_dim = numbers["blstm_joint.linear.weight"].shape[0], numbers["head_valence.0.weight"].shape[0]
    model = FeatureModel(fusion.config, ModelConfig(temporal="blstm", joint_dim=joint_dim, head_dim=head_dim))
    model.fusion = fusion
    for name in ("video", "audio", "joint"):
        ours, theirs = getattr(model, f"{name}_block"), make_blstm(numbers, f"blstm_{name}")
        assert (ours.rnn.input_size, ours.rnn.hidden_size) == (theirs.rnn.input_size, theirs.rnn.hidden_size)
        setattr(model, f"{name}_block", theirs)
    for name in ("valence", "arousal"):
        weights = block_weights(numbers, f"head_{name}")
        load(getattr(model, name), {key.replace("1.", "3.", 1): value for key, value in weights.items()})
    return model.eval()


@torch.no_grad()
def test_blstm_block():
    numbers = golden("blstm")
    x = numbers["x"]
    assert_same(make_blstm(numbers, "blstm")(x, torch.ones(x.shape[:2], dtype=torch.bool)), numbers["y"])


@torch.no_grad()
def test_released_jca_after_each_recursion():
    numbers = golden("jca_released")
    num_recursions = depth(numbers, r"layer(\d+)\.")
    for depth_so_far in range(1, num_recursions + 1):
        kept = {
            k: v for k, v in numbers.items() if not k.startswith("layer") or int(k[5:].split(".")[0]) < depth_so_far
        }
        expected = torch.cat([numbers[f"{name}_after_{depth_so_far}"] for name in ("video", "audio")], dim=-1)
        assert_same(make_fusion(kept, "none")(numbers["video"], numbers["audio"]).fused_BLF, expected)


@torch.no_grad()
def test_printed_jca():
    numbers = golden("jca_paper")
    parts = {"joint": "joint", "own": "W", "map": "W_c", "out": "W_h"}
    weights = {
        f"layers.0.{m}.{ours}": numbers[f"{theirs}_{m}"] for m in ("video", "audio") for ours, theirs in parts.items()
    }
    hidden_dim = len(numbers["W_video"])
    fusion = Fusion(FusionConfig(**sizes(numbers), base="jca_paper", gate="none", attention_dim=hidden_dim))
    expected = torch.cat([numbers["video_attended"], numbers["audio_attended"]], dim=-1)
    assert_same(load(fusion, weights)(numbers["video"], numbers["audio"]).fused_BLF, expected)


@pytest.mark.parametrize(("name", "gate"), [("rjca", "none"), ("dca", "dca")])
@torch.no_grad()
def test_whole_network(name, gate):
    numbers = golden(name)
    present = torch.ones(numbers["video"].shape[:2], dtype=torch.bool)
    prediction = make_feature_model(numbers, gate)(numbers["video"], numbers["audio"], present, present)
    assert_same(prediction.values_BL2, torch.stack([numbers["valence"], numbers["arousal"]], dim=-1))


@pytest.mark.parametrize("name", ["grjca", "hgrjca"])
@torch.no_grad()
def test_recursion_gates(name):
    numbers = golden(name)
    video, audio = (nn.functional.normalize(numbers[modality], dim=-1) for modality in ("video", "audio"))
    assert_same(make_fusion(numbers, name)(video, audio).fused_BLF, numbers["fused"])
