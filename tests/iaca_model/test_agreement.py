"""Ours beyond the paper: a modality gate that reads how the modalities agree, and the loss that supervises it."""

import pytest
import torch

from iaca_model.agreement import Agreement
from iaca_model.attention import Pair
from iaca_model.config import FusionConfig, ModelConfig
from iaca_model.fusion import Fusion
from iaca_model.loss import supervised_gate_loss

NUM, STEPS, DIM = 3, 6, 8


def pair(seed: int = 0) -> Pair:
    generator = torch.Generator().manual_seed(seed)
    features = (torch.randn(NUM, STEPS, DIM, generator=generator) for _ in range(2))
    return Pair(*features, *(torch.ones(NUM, STEPS, dtype=torch.bool) for _ in range(2)))


def make(**changes) -> Fusion:
    torch.manual_seed(0)
    sizes = {"video_dim": DIM, "audio_dim": DIM, "num_steps": STEPS, "dropout": 0.0}
    return Fusion(FusionConfig(**sizes, modality_input="agreement", **changes))


@pytest.mark.parametrize("base", ["ca", "jca", "jca_paper", "tca"])
@pytest.mark.parametrize("modality_gate", ["concat", "sum"])
def test_every_base_trains_with_it_and_masks_hold(base, modality_gate):
    fusion, inputs = make(base=base, modality_gate=modality_gate, gate_init="xavier"), pair()
    inputs.audio_ok_BL[0, 2], inputs.audio_ok_BL[1] = False, False
    output = fusion(*inputs)
    assert not output.gates["modality"][~inputs.audio_ok_BL][:, 1].any()
    output.fused_BLF.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fusion.parameters())
    masked = inputs._replace(audio_BLD=inputs.audio_BLD.masked_fill(~inputs.audio_ok_BL[..., None], float("nan")))
    assert torch.equal(fusion(*masked).fused_BLF, output.fused_BLF)


def test_it_starts_undecided_and_off_means_off():
    weights = make()(*pair()).gates["modality"]
    assert torch.equal(weights, torch.full_like(weights, 0.5))
    assert "modality" not in make(modality_gate="off")(*pair()).gates
    assert make(modality_gate="off").gate.agreement is None


@torch.no_grad()
def test_a_step_is_read_with_the_other_modality_and_with_its_own_sequence():
    torch.manual_seed(0)
    agreement, features = Agreement(DIM, DIM), pair()
    before = agreement(features)
    changed = features.audio_BLD.clone()
    changed[0, 0] += 1
    moved_BL = (agreement(features._replace(audio_BLD=changed)) != before).any(-1)
    assert moved_BL[0].all(), "another step changes what the whole sequence is compared with"
    assert not moved_BL[1:].any(), "another sequence changes nothing"


def test_the_choice_reaches_the_fusion_and_is_checked():
    assert ModelConfig(modality_input="agreement").fusion(num_steps=4).modality_input == "agreement"
    with pytest.raises(ValueError, match="modality_input is 'seen'; allowed: gated, agreement"):
        FusionConfig(modality_input="seen")


def test_supervision_counts_steps_with_exactly_one_corrupted_modality():
    weights = torch.tensor([[[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.3, 0.7]]])
    corrupted = torch.tensor([[[False, True], [False, True], [False, False], [True, True]]])
    expected = -(torch.tensor([0.9, 0.2]).log()).mean()
    assert supervised_gate_loss(weights, corrupted) == pytest.approx(expected.item())
    nothing = supervised_gate_loss(weights.requires_grad_(), torch.zeros_like(corrupted))
    nothing.backward()
    assert nothing == 0
    assert not weights.grad.any()


def test_a_sure_and_wrong_gate_gives_a_finite_loss():
    weights = torch.tensor([[[0.0, 1.0]]], requires_grad=True)
    loss = supervised_gate_loss(weights, torch.tensor([[[False, True]]]))
    loss.backward()
    assert loss.isfinite()
    assert weights.grad.isfinite().all()
