"""Every legal pair of base and gate: shapes, masks, lengths, compilation, autocast."""

import dataclasses
import itertools

import pytest
import torch

from iaca_model.config import FusionConfig
from iaca_model.fusion import Fusion

BASES, GATES = ("ca", "jca", "jca_paper", "tca"), ("none", "dca", "iaca", "grjca", "hgrjca", "tagf")
PAIRS = [("concat", "none"), *itertools.product(BASES, GATES)]
NUM, STEPS, VIDEO_DIM, AUDIO_DIM = 3, 6, 12, 8
every_pair = pytest.mark.parametrize(("base", "gate"), PAIRS)


def make(base: str, gate: str, **changes) -> Fusion:
    torch.manual_seed(0)
    sizes = {"video_dim": VIDEO_DIM, "audio_dim": AUDIO_DIM, "num_steps": STEPS, "gate_init": "xavier"}
    return Fusion(FusionConfig(**(sizes | {"base": base, "gate": gate} | changes))).eval()


def features(seed: int = 0, audio_dim: int = AUDIO_DIM) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(NUM, STEPS, dim, generator=generator) for dim in (VIDEO_DIM, audio_dim))


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    """Both, one, the other and neither modality; one sequence without any video, one without anything."""
    video_ok, audio_ok = torch.ones(NUM, STEPS, dtype=torch.bool), torch.ones(NUM, STEPS, dtype=torch.bool)
    video_ok[0, 1], audio_ok[0, 2], video_ok[0, 3], audio_ok[0, 3] = False, False, False, False
    video_ok[1], video_ok[2], audio_ok[2] = False, False, False
    return video_ok, audio_ok


@every_pair
def test_shapes_gates_and_gradients(base, gate):
    fusion = make(base, gate).train()
    output = fusion(*(tensor.requires_grad_() for tensor in features()))
    assert output.fused_BLF.shape == (NUM, STEPS, fusion.output_dim)
    assert output.valid_BL.all()
    expected = {"none": set(), "iaca": {"video", "audio", "modality"}}.get(gate, {"video", "audio"})
    assert expected <= set(output.gates)
    for weights in output.gates.values():
        torch.testing.assert_close(weights.sum(-1), torch.ones(NUM, STEPS))
    for name in expected:
        assert output.gates[name].shape == (NUM, STEPS, 3 if gate in ("grjca", "tagf") else 2)
    output.fused_BLF.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fusion.parameters())


@every_pair
def test_masked_content_has_no_influence_and_gets_no_gradient(base, gate):
    fusion, (video_ok, audio_ok) = make(base, gate), masks()
    video, audio = (tensor.requires_grad_() for tensor in features())
    output = fusion(video, audio, video_ok, audio_ok)
    output.fused_BLF.square().sum().backward()
    assert not video.grad[~video_ok].any()
    assert not audio.grad[~audio_ok].any()
    assert video.grad.isfinite().all()
    with torch.no_grad():
        other_video = video.masked_fill(~video_ok[..., None], float("nan"))
        other_audio = audio.masked_fill(~audio_ok[..., None], 1e6)
        other = fusion(other_video, other_audio, video_ok, audio_ok)
    assert torch.equal(other.fused_BLF, output.fused_BLF)
    assert all(torch.equal(other.gates[name], output.gates[name]) for name in output.gates)
    assert torch.equal(output.valid_BL, video_ok | audio_ok)
    assert not output.fused_BLF[~output.valid_BL].any()


@every_pair
def test_a_shorter_sequence_is_one_padded_with_masks_false(base, gate):
    fusion, half = make(base, gate), STEPS // 2
    video, audio = features()
    ok = torch.arange(STEPS).expand(NUM, -1) < half
    padded, short = fusion(video, audio, ok, ok), fusion(video[:, :half], audio[:, :half])
    torch.testing.assert_close(short.fused_BLF, padded.fused_BLF[:, :half])
    assert short.valid_BL.shape == (NUM, half)
    assert all(short.gates[name].shape[1] == half for name in short.gates)


@every_pair
def test_no_mask_means_all_present(base, gate):
    fusion, present = make(base, gate), torch.ones(NUM, STEPS, dtype=torch.bool)
    assert torch.equal(fusion(*features()).fused_BLF, fusion(*features(), present, present).fused_BLF)


@pytest.mark.parametrize("modality_gate", ["concat", "sum", "off"])
@pytest.mark.parametrize("base", BASES)
def test_every_modality_gate(base, modality_gate):
    fusion = make(base, "iaca", modality_gate=modality_gate, audio_dim=VIDEO_DIM, gate_input="both")
    output = fusion(*features(audio_dim=VIDEO_DIM), *masks())
    assert output.fused_BLF.shape[-1] == (VIDEO_DIM if modality_gate == "sum" else 2 * VIDEO_DIM)
    assert ("modality" in output.gates) == (modality_gate != "off")


@pytest.mark.parametrize("base", BASES)
def test_a_known_missing_modality_gets_no_weight(base):
    video_ok, audio_ok = masks()
    weights = make(base, "iaca")(*features(), video_ok, audio_ok).gates["modality"]
    only_audio, only_video, neither = ~video_ok & audio_ok, video_ok & ~audio_ok, ~video_ok & ~audio_ok
    assert torch.equal(weights[only_audio], torch.tensor([0.0, 1.0]).expand(int(only_audio.sum()), 2))
    assert torch.equal(weights[only_video], torch.tensor([1.0, 0.0]).expand(int(only_video.sum()), 2))
    assert torch.equal(weights[neither], torch.full((int(neither.sum()), 2), 0.5))


def test_zero_init_starts_every_gate_undecided_and_frozen_gates_stay_so():
    fusion = make("jca", "iaca", gate_init="zero", gate_trainable=False)
    assert all(torch.equal(w, torch.full_like(w, 0.5)) for w in fusion(*features()).gates.values())
    assert {name for name, p in fusion.named_parameters() if not p.requires_grad} == {
        f"gate.{part}.linear.{kind}" for part in ("video.gate", "audio.gate", "modality") for kind in ("weight", "bias")
    }


@pytest.mark.parametrize("base", BASES)
def test_gates_are_float32_under_autocast(base):
    fusion, inputs = make(base, "iaca"), features()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = fusion(*inputs)
    assert all(weights.dtype == torch.float32 for weights in output.gates.values())
    assert output.fused_BLF.isfinite().all()


@every_pair
@pytest.mark.slow
def test_compiled_equals_eager(base, gate):
    torch._dynamo.reset()
    fusion = make(base, gate)
    compiled = torch.compile(fusion, fullgraph=True)
    inputs = (*(tensor.requires_grad_() for tensor in features()), *masks())
    compiled_output, expected = compiled(*inputs), fusion(*inputs)
    torch.testing.assert_close(compiled_output.fused_BLF, expected.fused_BLF, rtol=1e-4, atol=1e-5)
    compiled_output.fused_BLF.square().sum().backward()


def test_one_graph_without_breaks():
    """The quick relative of the slow test above: dynamo alone, without compiling code."""
    pairs = [
        ("concat", "none"),
        ("ca", "iaca"),
        ("jca", "hgrjca"),
        ("jca_paper", "dca"),
        ("tca", "iaca"),
        ("jca", "tagf"),
    ]
    for base, gate in pairs:
        torch._dynamo.reset()
        torch.compile(make(base, gate), fullgraph=True, backend="eager")(*features(), *masks())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": "concat", "gate": "iaca"}, "base concat .* allows gate none only, not iaca"),
        ({"base": "mlp"}, "base is 'mlp'; allowed: concat, ca, jca, jca_paper, tca"),
        ({"gate": "hard"}, "gate is 'hard'; allowed: none, dca, iaca, grjca, hgrjca, tagf"),
        ({"gate": "hgrjca", "num_recursions": 3}, "hgrjca is defined over 2 recursions; num_recursions is 3"),
        ({"num_recursions": 0}, "num_recursions is 0; it must be at least 1"),
        ({"modality_gate": "sum", "audio_dim": 64}, "equal widths; video_dim is 128, audio_dim 64"),
        ({"base": "tca", "num_heads": 5}, "num_heads 5, which must divide both"),
        ({"temperature": 0.0}, "gate_temperature is 0.0; it must be above 0"),
        ({"dropout": 1.0}, "dropout is 1.0; allowed"),
        ({"gate_init": "ones"}, "gate_init is 'ones'; allowed: zero, xavier"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FusionConfig(**changes)


def test_wrong_shapes_are_refused():
    fusion, (video, audio) = make("jca", "iaca"), features()
    with pytest.raises(ValueError, match=r"\(3, 7, 12\).*more than num_steps 6"):
        fusion(torch.zeros(NUM, 7, VIDEO_DIM), torch.zeros(NUM, 7, AUDIO_DIM))
    with pytest.raises(ValueError, match=r"needed are \(batch, steps, 12\) and \(batch, steps, 8\)"):
        fusion(audio, video)
    with pytest.raises(ValueError, match="must agree in batch and steps"):
        fusion(video, audio[:2])
    with pytest.raises(ValueError, match=r"video_ok_BL is torch\.float32"):
        fusion(video, audio, torch.ones(NUM, STEPS))


def test_the_temperature_is_the_measured_best_of_the_base_unless_set():
    assert {base: FusionConfig(base=base).gate_temperature for base in BASES} == {
        "ca": 1.0,
        "jca": 0.1,
        "jca_paper": 0.1,
        "tca": 0.1,
    }
    assert FusionConfig(base="ca", temperature=0.1).gate_temperature == 0.1


def test_depth_is_the_papers_own_unless_set():
    assert [FusionConfig(gate=gate).depth for gate in GATES] == [1, 2, 2, 2, 2, 2]
    assert FusionConfig(base="concat", gate="none").depth == 0
    assert len(make("jca", "grjca", num_recursions=3).layers) == 3
    config = make("jca", "grjca", num_recursions=3).config
    assert dataclasses.replace(config, num_recursions=1).depth == 1


@pytest.mark.parametrize("base", BASES)
def test_attention_maps_show_which_steps_were_attended_to(base):
    fusion, (video_ok, audio_ok) = make(base, "iaca"), masks()
    output = fusion(*(tensor.requires_grad_() for tensor in features()), video_ok, audio_ok)
    for name, own_ok in (("video", video_ok), ("audio", audio_ok)):
        map_BLL = output.attention[name]
        assert map_BLL.shape == (NUM, STEPS, STEPS)
        assert not map_BLL.requires_grad
        if base in ("ca", "tca"):
            source_BL = own_ok if base == "ca" else {"video": audio_ok, "audio": video_ok}[name]
            torch.testing.assert_close(map_BLL.sum(-1), source_BL.any(-1)[:, None].expand(-1, STEPS).float())
            assert not map_BLL[~source_BL[:, None].expand_as(map_BLL)].any()
    half = fusion(*(tensor[:, : STEPS // 2] for tensor in features())).attention
    assert half["video"].shape == (NUM, STEPS // 2, STEPS // 2)


def test_concat_has_no_attention():
    assert make("concat", "none")(*features()).attention == {}
