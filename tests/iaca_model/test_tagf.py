"""TAGF: the released gate's numbers, its start, its reach, and what masked steps may do to it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from iaca_model.attention import Pair
from iaca_model.config import PRESETS, FusionConfig
from iaca_model.fusion import Fusion
from iaca_model.gates import build_gate

GOLDEN = Path(__file__).parent / "golden/tagf.npz"
NUM, STEPS, VIDEO_DIM, AUDIO_DIM = 4, 6, 12, 8
RELEASED = {"gate_relu": False, "gate_init": "xavier", "temperature": 0.1}


def make(**changes) -> Fusion:
    torch.manual_seed(0)
    sizes = {"video_dim": VIDEO_DIM, "audio_dim": AUDIO_DIM, "num_steps": STEPS, "gate": "tagf"}
    return Fusion(FusionConfig(**(sizes | RELEASED | changes))).eval()


def inputs(seed: int = 0, missing: float = 0.0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    features = [torch.randn(NUM, STEPS, dim, generator=generator) for dim in (VIDEO_DIM, AUDIO_DIM)]
    return *features, *(torch.rand(NUM, STEPS, generator=generator) >= missing for _ in range(2))


def iterates_of(videos: list[Tensor], audios: list[Tensor]) -> list[Pair]:
    present = torch.ones(videos[0].shape[:2], dtype=torch.bool)
    return [Pair(video, audio, present, present) for video, audio in zip(videos, audios, strict=True)]


def random_iterates(num: int = 3, scale: float = 1.0) -> list[Pair]:
    seeds = range(num)
    return iterates_of(*([scale * inputs(seed)[side] for seed in seeds] for side in (0, 1)))


def renamed(name: str) -> str:
    """`gate_video.rnn.bias_hh_l0_reverse` -> `video.last_to_first.bias_hh`."""
    name = name.removeprefix("gate_")
    modality, *rest = name.split(".")
    if rest[0] != "rnn":
        return name
    cell = "last_to_first" if rest[1].endswith("_reverse") else "first_to_last"
    return f"{modality}.{cell}.{rest[1].removesuffix('_reverse').removesuffix('_l0')}"


@torch.no_grad()
def test_the_released_gate_gives_the_same_numbers():
    with np.load(GOLDEN, allow_pickle=False) as arrays:
        numbers = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    (_, num_steps, video_dim), (*_, audio_dim) = numbers["video_0"].shape, numbers["audio_0"].shape
    gate = build_gate(FusionConfig(video_dim, audio_dim, num_steps, base="jca", gate="tagf", **RELEASED)).eval()
    gate.load_state_dict({renamed(name): value for name, value in numbers.items() if name.startswith("gate_")})
    iterates = iterates_of(*([numbers[f"{modality}_{r}"] for r in range(3)] for modality in ("video", "audio")))
    fused, gates = gate(iterates)
    torch.testing.assert_close(fused, numbers["fused"], rtol=0, atol=1e-5)
    assert (gates["video"].amax(-1) - gates["video"].amin(-1)).max() > 0.2, "the gate hardly chooses: a weak test"


def test_the_preset_is_the_released_gate():
    config = PRESETS["tagf"].fusion(STEPS)
    assert {name: getattr(config, name) for name in RELEASED} == RELEASED
    assert (config.base, config.depth) == ("jca", 2)


@pytest.mark.parametrize("num_recursions", [1, 2, 3])
def test_it_weighs_as_many_iterates_as_there_are(num_recursions):
    gates = make(num_recursions=num_recursions)(*inputs(missing=0.3)).gates
    assert gates["video"].shape == gates["audio"].shape == (NUM, STEPS, num_recursions + 1)
    torch.testing.assert_close(gates["video"].sum(-1), torch.ones(NUM, STEPS))


def test_every_step_is_weighed_by_itself():
    """The LSTM runs over the iterates, not over time."""
    gate, iterates = make().gate, random_iterates()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = [Pair(*(tensor[:, order] for tensor in pair)) for pair in iterates]
    for (_, found), (_, expected) in [(gate(shuffled), gate(iterates))]:
        torch.testing.assert_close(found["video"], expected["video"][:, order])
        torch.testing.assert_close(found["audio"], expected["audio"][:, order])


def test_it_reads_the_iterates_in_both_directions():
    gate, iterates = make(temperature=0.01).gate, random_iterates()
    _, expected = gate(iterates)
    for changed in range(3):
        pairs = list(iterates)
        pairs[changed] = random_iterates(4)[3]
        _, found = gate(pairs)
        ratios = [
            weights["video"][..., (changed + 1) % 3] / weights["video"][..., (changed + 2) % 3]
            for weights in (found, expected)
        ]
        assert not torch.allclose(*ratios, rtol=1e-3), f"the scores of the others do not depend on iterate {changed}"


def test_a_zero_init_starts_with_equal_weights_and_can_learn_from_there():
    fusion = make(gate_init="zero")
    optimizer = torch.optim.SGD(fusion.gate.parameters(), lr=0.1)
    assert torch.equal(fusion(*inputs()).gates["video"], torch.full((NUM, STEPS, 3), 1 / 3))
    for seed in range(2):
        optimizer.zero_grad()
        fusion(*inputs(seed)).fused_BLF.square().sum().backward()
        for part in (fusion.gate.video, fusion.gate.audio):
            assert 1e-3 < part.linear.weight.grad.abs().max() < 1e3
        optimizer.step()
    dead = [name for name, p in fusion.gate.named_parameters() if not p.grad.abs().max() > 0]
    assert not dead


def test_an_untrained_gate_stays_as_it_is():
    frozen = make(gate_trainable=False).gate
    assert not [name for name, p in frozen.named_parameters() if p.requires_grad]


@pytest.mark.parametrize("dim", [8, 128, 512])
def test_its_scores_are_bounded_by_the_width(dim):
    """Unit length over 2 D numbers leaves a mean of at most 1 / sqrt(2 D), whatever the gate has learned."""
    config = FusionConfig(dim, dim, STEPS, base="jca", gate="tagf", **RELEASED)
    gate = build_gate(config).eval()
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.mul_(100)
        gate.video.linear.weight.abs_()
    pairs = iterates_of(*([torch.randn(NUM, STEPS, dim) * 10 for _ in range(3)] for _ in range(2)))
    weights = gate(pairs)[1]["video"]
    greatest = math.exp(2 / (0.1 * math.sqrt(2 * dim)))
    assert 1 < (weights.amax(-1) / weights.amin(-1)).max() <= greatest * 1.001


@pytest.mark.parametrize("front", ["none", "reliability"])
@pytest.mark.parametrize("base", ["ca", "jca", "jca_paper", "tca"])
@pytest.mark.parametrize("hidden", [float("nan"), float("inf"), 1e30])
def test_masked_content_has_no_influence_and_gets_no_gradient(base, hidden, front):
    fusion = make(base=base, front=front)
    video, audio, video_ok, audio_ok = inputs(missing=0.4)
    expected = fusion(video, audio, video_ok, audio_ok)
    video, audio = (x.masked_fill(~ok[..., None], hidden) for x, ok in ((video, video_ok), (audio, audio_ok)))
    output = fusion(video.requires_grad_(), audio.requires_grad_(), video_ok, audio_ok)
    assert torch.equal(output.fused_BLF, expected.fused_BLF)
    assert all(torch.equal(output.gates[name], expected.gates[name]) for name in expected.gates)
    output.fused_BLF.square().sum().backward()
    assert video.grad[video_ok].any()
    assert not video.grad[~video_ok].any()
    assert not audio.grad[~audio_ok].any()
    assert all(p.grad.isfinite().all() for p in fusion.parameters())


def test_masked_steps_train_no_gate():
    fusion = make()
    video, audio, video_ok, _ = inputs()
    nothing = torch.zeros_like(video_ok)
    fusion(video, audio, nothing, nothing).fused_BLF.square().sum().backward()
    assert not any(p.grad.any() for p in fusion.gate.parameters())
