"""The reliability front: its equations, its start, what masked steps may do, and that it can learn from the start."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from iaca_model.attention import Pair
from iaca_model.config import PRESETS, FusionConfig
from iaca_model.front import ReliabilityFront
from iaca_model.fusion import Fusion
from iaca_model.model import FeatureModel
from tests.benchmarks import transcription

NUM, STEPS, VIDEO_DIM, AUDIO_DIM = 4, 6, 12, 8
GATES = ("none", "dca", "iaca", "grjca", "tagf")
PAIRS = [("concat", "none"), *itertools.product(("ca", "jca", "jca_paper", "tca"), GATES)]
every_pair = pytest.mark.parametrize(("base", "gate"), PAIRS)


def make(base: str = "jca", gate: str = "none", **changes) -> Fusion:
    """A fusion with a front whose judgement is not at its start, where it would be the same everywhere."""
    torch.manual_seed(0)
    sizes = {"video_dim": VIDEO_DIM, "audio_dim": AUDIO_DIM, "num_steps": STEPS, "gate_init": "xavier"}
    fusion = Fusion(FusionConfig(**(sizes | {"base": base, "gate": gate, "front": "reliability"} | changes))).eval()
    if fusion.front:
        disturb(fusion.front)
    return fusion


def disturb(front: ReliabilityFront) -> None:
    nn.init.normal_(front.judge.weight, std=2.0)
    nn.init.normal_(front.judge.bias)
    for pool in (front.compare.video_pool, front.compare.audio_pool):
        nn.init.normal_(pool.query, std=2.0)


def pair(seed: int = 0, missing: float = 0.0) -> Pair:
    generator = torch.Generator().manual_seed(seed)
    video, audio = (torch.randn(NUM, STEPS, dim, generator=generator) for dim in (VIDEO_DIM, AUDIO_DIM))
    video_ok, audio_ok = (torch.rand(NUM, STEPS, generator=generator) >= missing for _ in range(2))
    return Pair(video * video_ok[..., None], audio * audio_ok[..., None], video_ok, audio_ok)


def written_out(front: ReliabilityFront, inputs: Pair) -> tuple[Tensor, Tensor]:
    """The equations step by step: reliabilities (B, L, 2) and verdict (B, L, 2), for masks that hide nothing."""
    compare = front.compare
    video, audio = (x / x.square().mean(-1, keepdim=True).sqrt() for x in (inputs.video_BLD, inputs.audio_BLD))
    u_v, u_a = torch.tanh(compare.video(video)), torch.tanh(compare.audio(audio))
    reliability, verdict = torch.zeros(NUM, STEPS, 2), torch.zeros(NUM, STEPS, 2)
    for b in range(NUM):
        c_v = sum(w * u for w, u in zip((u_v[b] @ compare.video_pool.query).softmax(0), u_v[b], strict=True))
        c_a = sum(w * u for w, u in zip((u_a[b] @ compare.audio_pool.query).softmax(0), u_a[b], strict=True))
        for t in range(STEPS):
            v, a = u_v[b, t], u_a[b, t]
            h = compare.read(torch.cat([v, a, v * a, (v - c_v) ** 2, (a - c_a) ** 2])).relu()
            z_v, z_a = front.judge(h).tolist()
            total = math.exp(2) + math.exp(-z_v) + math.exp(-z_a)
            reliability[b, t, 0], reliability[b, t, 1] = 1 - math.exp(-z_v) / total, 1 - math.exp(-z_a) / total
            verdict[b, t] = reliability[b, t] / reliability[b, t].sum()
    return reliability, verdict


def test_the_front_follows_its_equations():
    front, inputs = make().front, pair()
    scaled, gates = front(inputs)
    reliability, verdict = written_out(front, inputs)
    torch.testing.assert_close(scaled.video_BLD, reliability[..., :1] * inputs.video_BLD)
    torch.testing.assert_close(scaled.audio_BLD, reliability[..., 1:] * inputs.audio_BLD)
    torch.testing.assert_close(gates["reliability"], verdict)
    assert verdict[..., 0].min() < 0.3
    assert verdict[..., 0].max() > 0.7


def test_gradients_reach_the_features_as_the_equations_have_it():
    front, inputs = make().front, pair()
    ours, theirs = ([x.clone().requires_grad_() for x in inputs[:2]] for _ in range(2))
    scaled, _ = front(Pair(*ours, *inputs[2:]))
    for video, audio in ((scaled.video_BLD, scaled.audio_BLD), transcription.front(front, *theirs)):
        (video.pow(3).sum() + audio.pow(3).sum()).backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_it_starts_by_trusting_both_modalities_alike():
    inputs = pair()
    scaled, gates = ReliabilityFront(VIDEO_DIM, AUDIO_DIM)(inputs)
    torch.testing.assert_close(scaled.video_BLD, inputs.video_BLD * 0.8934, rtol=1e-3, atol=0)
    assert torch.equal(gates["reliability"], torch.full((NUM, STEPS, 2), 0.5))


def test_every_parameter_of_the_front_learns_from_the_start():
    """The judging layer has a gradient at its start, and after one step of it everything before it has one, too."""
    torch.manual_seed(0)
    fusion = Fusion(FusionConfig(VIDEO_DIM, AUDIO_DIM, STEPS, gate="none", front="reliability"))
    optimizer = torch.optim.SGD(fusion.parameters(), lr=0.1)
    for seed in range(2):
        inputs = pair(seed)
        optimizer.zero_grad()
        fusion(*inputs).fused_BLF.square().sum().backward()
        assert fusion.front.judge.weight.grad.abs().max() > 1e-4, "the judging layer is dead"
        assert fusion.front.judge.bias.grad.abs().max() > 1e-4
        optimizer.step()
    dead = [name for name, p in fusion.front.named_parameters() if not p.grad.abs().max() > 0]
    assert not dead


def test_a_masked_modality_has_no_reliability_and_both_masked_have_one_half_each():
    inputs = pair(missing=0.4)
    scaled, gates = make().front(inputs)
    only_video, only_audio = inputs.video_ok_BL & ~inputs.audio_ok_BL, ~inputs.video_ok_BL & inputs.audio_ok_BL
    neither = ~inputs.video_ok_BL & ~inputs.audio_ok_BL
    assert min(only_video.sum(), only_audio.sum(), neither.sum()) > 0
    weights = gates["reliability"]
    assert torch.equal(weights[only_video], torch.tensor([1.0, 0.0]).expand(int(only_video.sum()), 2))
    assert torch.equal(weights[only_audio], torch.tensor([0.0, 1.0]).expand(int(only_audio.sum()), 2))
    assert torch.equal(weights[neither], torch.full((int(neither.sum()), 2), 0.5))
    assert not scaled.audio_BLD[~inputs.audio_ok_BL].any()


def test_a_sequence_is_pooled_over_its_valid_steps_only():
    """The steps that are there are judged as if the sequence had no others."""
    front, inputs = make().front, pair()
    valid = torch.tensor([0, 2, 5])
    ok = torch.zeros(NUM, STEPS, dtype=torch.bool)
    ok[:, valid] = True
    masked = Pair(inputs.video_BLD * ok[..., None], inputs.audio_BLD * ok[..., None], ok, ok)
    alone = Pair(*(tensor[:, valid] for tensor in inputs))
    torch.testing.assert_close(front(masked)[1]["reliability"][:, valid], front(alone)[1]["reliability"])


@every_pair
def test_shapes_rows_and_gradients(base, gate):
    fusion = make(base, gate).train()
    output = fusion(*pair(missing=0.3))
    assert output.gates["reliability"].shape == (NUM, STEPS, 2)
    assert next(iter(output.gates)) == "reliability", "first, as it is shown"
    for weights in output.gates.values():
        torch.testing.assert_close(weights.sum(-1), torch.ones(NUM, STEPS))
    output.fused_BLF.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fusion.parameters())


@every_pair
@pytest.mark.parametrize("there", ["video", "audio", "nothing"])
def test_every_parameter_has_a_gradient_where_a_whole_batch_lacks_a_modality(base, gate, there):
    fusion, inputs = make(base, gate).train(), pair()
    ok = {name: torch.full((NUM, STEPS), name == there) for name in ("video", "audio")}
    output = fusion(inputs.video_BLD, inputs.audio_BLD, ok["video"], ok["audio"])
    output.fused_BLF.square().sum().backward()
    assert all(p.grad is not None for p in fusion.parameters()), "DDP would wait for it"
    assert all(p.grad.isfinite().all() for p in fusion.parameters())


@every_pair
@pytest.mark.parametrize("hidden", [float("nan"), float("inf"), 1e30])
def test_masked_content_has_no_influence_and_gets_no_gradient(base, gate, hidden):
    fusion, inputs = make(base, gate), pair(missing=0.4)
    video_ok, audio_ok = inputs.video_ok_BL, inputs.audio_ok_BL
    video, audio = (
        features.masked_fill(~ok[..., None], hidden).requires_grad_()
        for features, ok in ((inputs.video_BLD, video_ok), (inputs.audio_BLD, audio_ok))
    )
    expected, output = fusion(*inputs), fusion(video, audio, video_ok, audio_ok)
    assert torch.equal(output.fused_BLF, expected.fused_BLF)
    assert all(torch.equal(output.gates[name], expected.gates[name]) for name in expected.gates)
    assert not output.fused_BLF[~output.valid_BL].any()
    output.fused_BLF.square().sum().backward()
    assert not video.grad[~video_ok].any()
    assert not audio.grad[~audio_ok].any()
    assert all(p.grad.isfinite().all() for p in fusion.parameters())


@every_pair
def test_a_shorter_sequence_is_one_padded_with_masks_false(base, gate):
    fusion, half, (video, audio, *_) = make(base, gate), STEPS // 2, pair()
    ok = torch.arange(STEPS).expand(NUM, -1) < half
    padded, short = fusion(video, audio, ok, ok), fusion(video[:, :half], audio[:, :half])
    torch.testing.assert_close(short.fused_BLF, padded.fused_BLF[:, :half])
    torch.testing.assert_close(short.gates["reliability"], padded.gates["reliability"][:, :half])


def test_it_is_float32_under_autocast():
    fusion, inputs = make("jca", "iaca"), pair()
    expected = fusion(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = fusion(*inputs)
    assert torch.equal(output.gates["reliability"], expected.gates["reliability"])
    assert torch.equal(output.fused_BLF, expected.fused_BLF)


def test_one_graph_without_breaks():
    for base, gate in [("concat", "none"), ("ca", "iaca"), ("jca", "none")]:
        torch._dynamo.reset()
        torch.compile(make(base, gate), fullgraph=True, backend="eager")(*pair(missing=0.3))


@every_pair
@pytest.mark.slow
def test_compiled_equals_eager(base, gate):
    torch._dynamo.reset()
    fusion, inputs = make(base, gate), pair(missing=0.3)
    output, expected = torch.compile(fusion, fullgraph=True)(*inputs), fusion(*inputs)
    torch.testing.assert_close(output.fused_BLF, expected.fused_BLF, rtol=1e-4, atol=1e-5)
    output.fused_BLF.square().sum().backward()


def test_it_judges_alike_whatever_the_scale_of_the_features():
    front, inputs = make().front, pair()
    small = inputs._replace(video_BLD=inputs.video_BLD / 20, audio_BLD=inputs.audio_BLD * 5)
    torch.testing.assert_close(front(small)[1]["reliability"], front(inputs)[1]["reliability"], rtol=1e-3, atol=1e-4)


def test_features_of_unit_length_are_wide_enough_to_be_judged_by_their_direction_alone():
    """The bound on the scale of small features must not reach those that FeatureModel gives."""
    torch.manual_seed(0)
    front = ReliabilityFront(512, 512)
    disturb(front)
    ok = torch.ones(NUM, STEPS, dtype=torch.bool)
    video, audio = (nn.functional.normalize(torch.randn(NUM, STEPS, 512), dim=-1) for _ in range(2))
    of_unit_length, large = (front(Pair(x * video, x * audio, ok, ok))[1]["reliability"] for x in (1, 100))
    torch.testing.assert_close(of_unit_length, large, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("width", [24, 512])
def test_a_step_of_zeros_has_a_gradient_of_the_size_that_other_steps_have(width):
    torch.manual_seed(0)
    front = ReliabilityFront(width, width)
    disturb(front)
    ok = torch.ones(NUM, STEPS, dtype=torch.bool)
    video, audio = (nn.functional.normalize(torch.randn(NUM, STEPS, width), dim=-1) for _ in range(2))
    video[:, 2] = 0
    video.requires_grad_()
    front(Pair(video, audio, ok, ok))[1]["reliability"][..., 0].sum().backward()
    sizes_BL = video.grad.norm(dim=-1)
    assert 0 < sizes_BL[:, 2].max() < 10 * sizes_BL[:, torch.arange(STEPS) != 2].max()


@pytest.mark.parametrize(("base", "gate"), [("concat", "none"), ("ca", "dca"), ("jca", "iaca"), ("jca_paper", "none")])
@pytest.mark.parametrize("value", [1e20, 1e30])
def test_a_huge_step_has_no_nan_in_its_gradients(base, gate, value):
    """Nor has it any without a front: float32 cannot hold the square of such features."""
    inputs = pair()
    for front in ("none", "reliability"):
        fusion, video = make(base, gate, front=front), inputs.video_BLD.clone()
        video[0, 2] = value
        video.requires_grad_()
        fused = fusion(video, *inputs[1:]).fused_BLF
        assert fused.isfinite().all()
        fused.sum().backward()
        assert video.grad.isfinite().all(), f"front {front}"
        assert all(p.grad.isfinite().all() for p in fusion.parameters()), f"front {front}"


def test_full_reliability_leaves_the_base_as_it_is():
    fusion, inputs = make("jca", "iaca"), pair(missing=0.3)
    plain = make("jca", "iaca", front="none")
    plain.load_state_dict({name: p for name, p in fusion.state_dict().items() if not name.startswith("front.")})
    nn.init.zeros_(fusion.front.judge.weight)
    nn.init.constant_(fusion.front.judge.bias, 1e4)
    torch.testing.assert_close(fusion(*inputs).fused_BLF, plain(*inputs).fused_BLF)


@pytest.mark.parametrize("width", [64, 512])
def test_a_front_without_a_gate_has_no_more_parameters_than_iaca(width):
    def num_parameters(name):
        config = dataclasses.replace(PRESETS[name], feature_dim=width)
        return sum(p.numel() for p in FeatureModel(config.fusion(num_steps=16), config).parameters())

    found = {name: num_parameters(name) / num_parameters("iaca") for name in ("jca+", "ca+", "iaca+")}
    assert PRESETS["jca+"].fusion(num_steps=16).depth == PRESETS["iaca"].fusion(num_steps=16).depth
    assert max(found["jca+"], found["ca+"]) <= 1
    assert found["iaca+"] <= 1.02


def test_no_front_is_the_default_and_adds_nothing():
    plain = make("jca", "iaca", front="none")
    assert FusionConfig().front == "none"
    assert not [name for name in plain.state_dict() if "front" in name]
    assert "reliability" not in plain(*pair()).gates


def test_the_control_leaves_the_features_as_they_are_and_appends_what_it_compared():
    control, inputs = make("jca", "none", front_output="appended"), pair(missing=0.3)
    plain = make("jca", "none", front="none")
    plain.load_state_dict({name: p for name, p in control.state_dict().items() if not name.startswith("control.")})
    output, expected = control(*inputs), plain(*inputs)
    assert output.fused_BLF.shape[-1] == control.output_dim == plain.output_dim + 16
    assert torch.equal(output.fused_BLF[..., : plain.output_dim], expected.fused_BLF)
    assert output.fused_BLF[..., plain.output_dim :][output.valid_BL].any()
    assert not output.fused_BLF[~output.valid_BL].any()
    assert output.gates == {}
    control.train()(*inputs).fused_BLF.square().sum().backward()
    assert all(p.grad is not None for p in control.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"front": "attention"}, "front is 'attention'; allowed: none, reliability"),
        ({"front_output": "both"}, "front_output is 'both'; allowed: scaled, appended"),
        ({"front": "none", "front_output": "appended"}, "front_output is appended, but front is none"),
    ],
)
def test_an_unknown_front_and_the_output_of_none_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FusionConfig(**changes)
