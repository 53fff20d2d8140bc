"""What each form must reduce to, as properties of random inputs, sizes and masks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from iaca_model.attention import attend
from iaca_model.config import FusionConfig
from iaca_model.fusion import Fusion
from iaca_model.gates import CrossGate, TimeAwareGate, masked_softmax

BASES, GATES = ("ca", "jca", "jca_paper", "tca"), ("dca", "iaca", "grjca", "hgrjca", "tagf")
quick = settings(max_examples=15, deadline=None)
bases, gates, seeds, num_steps = (
    st.sampled_from(BASES),
    st.sampled_from(GATES),
    st.integers(0, 2**31),
    st.integers(1, 7),
)
chances = st.sampled_from([0.0, 0.3, 1.0])


def make(seed: int, steps: int, base: str, gate: str, **changes) -> Fusion:
    torch.manual_seed(seed)
    config = {"video_dim": 8, "audio_dim": 4, "num_steps": steps, "base": base, "gate": gate, "gate_init": "xavier"}
    return Fusion(FusionConfig(**(config | changes))).eval()


def inputs(seed: int, steps: int, missing: float = 0.0, num: int = 4) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    features = [torch.randn(num, steps, dim, generator=generator) for dim in (8, 4)]
    return *features, *(torch.rand(num, steps, generator=generator) >= missing for _ in range(2))


def copy_base(source: Fusion, target: Fusion) -> None:
    target.layers.load_state_dict(source.layers.state_dict())


def force(gate: CrossGate, biases: list[float]) -> None:
    with torch.no_grad():
        gate.gate.linear.weight.zero_()
        gate.gate.linear.bias.copy_(torch.tensor(biases))


@torch.no_grad()
def force_tagf(gate: TimeAwareGate, chosen: int) -> None:
    """Let the states of both directions grow from step to step whatever they read, and score high where `chosen` is.

    Their sum is greatest in the middle of three iterates, as each grows ever less.
    """
    for parameter in gate.parameters():
        parameter.zero_()
    dim = gate.first_to_last.hidden_size
    for cell in (gate.first_to_last, gate.last_to_first):
        cell.bias_ih[2 * dim : 3 * dim] = 1.0  # the candidate; input, forget and output gates stay at one half
    onward, back = [(-1.0, 0.0), (1.0, 1.0), (1.0, 0.0)][chosen]
    gate.linear.weight[:, dim] = onward
    gate.linear.weight[:, 2 * dim] = back
    gate.linear.bias[::2] = 1.0


@quick
@given(bases, gates, seeds, num_steps, chances)
def test_gate_rows_sum_to_one_and_lie_between(base, gate, seed, steps, missing):
    output = make(seed, steps, base, gate)(*inputs(seed, steps, missing))
    for weights in output.gates.values():
        torch.testing.assert_close(weights.sum(-1), torch.ones(4, steps))
        assert ((weights >= 0) & (weights <= 1)).all()


@quick
@given(bases, seeds, num_steps, chances, st.booleans())
def test_iaca_that_always_crosses_is_its_base(base, seed, steps, missing, relu):
    iaca = make(seed, steps, base, "iaca", modality_gate="off", gate_relu=relu)
    plain = make(seed + 1, steps, base, "none", num_recursions=2)
    copy_base(iaca, plain)
    for gate in (iaca.gate.video, iaca.gate.audio):
        force(gate, [-1e4, 1e4])
    data = inputs(seed, steps, missing)
    expected = plain(*data).fused_BLF
    torch.testing.assert_close(iaca(*data).fused_BLF, expected.relu() if relu else expected)


@quick
@given(seeds, num_steps, chances, st.booleans(), st.sampled_from(["jca", "jca_paper"]))
def test_dca_is_iaca_with_unattended_features_and_no_second_stage(seed, steps, missing, relu, base):
    iaca = make(seed, steps, base, "iaca", modality_gate="off", gate_relu=relu)
    dca = make(seed + 1, steps, base, "dca", gate_relu=relu)
    copy_base(iaca, dca)
    dca.gate.load_state_dict({k: v for k, v in iaca.gate.state_dict().items() if "_self" not in k})
    with torch.no_grad():  # the self-attention adds nothing: what is left is the unattended feature
        for name, parameter in iaca.gate.named_parameters():
            if "_self" in name and ".out" in name:
                parameter.zero_()
    data = inputs(seed, steps, missing)
    torch.testing.assert_close(iaca(*data).fused_BLF, dca(*data).fused_BLF)


@quick
@given(bases, st.sampled_from(["none", *GATES]), seeds, num_steps, chances)
def test_permuting_the_batch_permutes_the_output(base, gate, seed, steps, missing):
    fusion, data = make(seed, steps, base, gate), inputs(seed, steps, missing)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    permuted = fusion(*(tensor[order] for tensor in data))
    torch.testing.assert_close(permuted.fused_BLF, fusion(*data).fused_BLF[order], rtol=1e-4, atol=1e-5)


def iterate_of(gated: Fusion, chosen: int, data: tuple[Tensor, ...], seed: int, steps: int) -> Tensor:
    """[X^r_v ; X^r_a], r = `chosen`, from the layers of a fusion."""
    if chosen == 0:
        return torch.cat(data[:2], dim=-1)
    plain = make(seed, steps, "jca", "none", num_recursions=chosen)
    plain.layers.load_state_dict(gated.layers[:chosen].state_dict())
    return plain(*data).fused_BLF


@quick
@given(seeds, num_steps)
def test_grjca_that_always_takes_one_iterate_gives_it(seed, steps):
    gated, data = make(seed, steps, "jca", "grjca"), inputs(seed, steps)
    for chosen in range(3):
        for modality in (gated.gate.video, gated.gate.audio):
            force(modality, [1e4 if option == chosen else -1e4 for option in range(3)])
        torch.testing.assert_close(gated(*data).fused_BLF, iterate_of(gated, chosen, data, seed, steps))


@quick
@given(seeds, num_steps)
def test_tagf_that_always_takes_one_iterate_gives_it(seed, steps):
    gated, data = make(seed, steps, "jca", "tagf", temperature=1e-5), inputs(seed, steps)
    for chosen in range(3):
        for modality in (gated.gate.video, gated.gate.audio):
            force_tagf(modality, chosen)
        torch.testing.assert_close(gated(*data).fused_BLF, iterate_of(gated, chosen, data, seed, steps))


@quick
@given(seeds, num_steps)
def test_hgrjca_with_its_last_gate_on_the_second_level_is_grjca(seed, steps):
    deep, flat, data = make(seed, steps, "jca", "hgrjca"), make(seed + 1, steps, "jca", "grjca"), inputs(seed, steps)
    copy_base(deep, flat)
    for name in ("video", "audio"):
        force(getattr(deep.gate, name).last, [-1e4, 1e4])
        getattr(flat.gate, name).load_state_dict(getattr(deep.gate, name).second.state_dict())
    torch.testing.assert_close(deep(*data).fused_BLF, flat(*data).fused_BLF)


@quick
@given(seeds, st.integers(1, 5), st.integers(1, 5))
def test_cross_attention_against_the_formula_step_by_step(seed, num, steps):
    """CA written out with loops: softmax of X_a W X_v^T over the valid keys, plus the residual."""
    fusion = make(seed, steps, "ca", "none", attention_temperature=0.7)
    video, audio, video_ok, audio_ok = inputs(seed, steps, 0.4, num)
    video, audio = video * video_ok[..., None], audio * audio_ok[..., None]
    scores = torch.einsum("bid,de,bje->bij", audio, fusion.layers[0].weight, video) / 0.7
    expected = torch.cat([video, audio], dim=-1).clone()
    for b in range(num):
        for i in range(steps):
            if video_ok[b, i] and video_ok[b].any():
                expected[b, i, :8] += scores[b, i, video_ok[b]].softmax(0) @ video[b, video_ok[b]]
            if audio_ok[b, i] and audio_ok[b].any():
                expected[b, i, 8:] += scores[b, audio_ok[b], i].softmax(0) @ audio[b, audio_ok[b]]
    torch.testing.assert_close(fusion(video, audio, video_ok, audio_ok).fused_BLF, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_the_transformer_layer_attends_as_torch_does(masked):
    layer = make(0, 5, "tca", "none").layers[0].video
    video, audio, _, audio_ok = inputs(0, 5, 0.4 if masked else 0.0)
    theirs = nn.MultiheadAttention(8, 4, kdim=4, vdim=4, batch_first=True)
    with torch.no_grad():
        for name in ("query", "key", "value"):
            getattr(theirs, f"{name[0]}_proj_weight").copy_(getattr(layer, name).weight)
        theirs.out_proj.weight.copy_(layer.out.weight)
        context, _ = theirs(video, audio, audio, key_padding_mask=~audio_ok)
        attended = layer.norm1(video + context * audio_ok.any(-1)[:, None, None])
        expected = layer.norm2(attended + layer.narrow(layer.widen(attended).relu()))
        torch.testing.assert_close(layer(video, audio, audio_ok)[0], expected, rtol=1e-4, atol=1e-5)


def test_attention_without_a_valid_key_gives_nothing():
    scores, values = torch.randn(2, 3, 3), torch.randn(2, 3, 4)
    ok = torch.tensor([[True, False, True], [False, False, False]])
    attended, weights = attend(scores, values, ok)
    assert not weights[1].any()
    assert not attended[1].any()
    torch.testing.assert_close(attended[0], scores[0][:, [0, 2]].softmax(-1) @ values[0, [0, 2]])


@quick
@given(seeds)
def test_masked_softmax_has_finite_gradients(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = (1e4 * torch.randn(6, 2, generator=generator)).requires_grad_()
    ok = torch.rand(6, 2, generator=generator) > 0.5
    weights = masked_softmax(logits, ok)
    (weights * torch.randn(6, 2, generator=generator)).sum().backward()
    assert logits.grad.isfinite().all()
    assert not weights[~ok & ok.any(-1, keepdim=True)].any()
