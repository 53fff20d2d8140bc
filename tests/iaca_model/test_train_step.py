"""Optimiser, schedule, one step, evaluation and the masking of spans."""

import dataclasses

import pytest
import torch
from torch import nn

from iaca_model.config import InputSpec, ModelConfig
from iaca_model.metrics import ConcordanceMeter
from iaca_model.model import EmotionModel
from iaca_model.train_step import (
    build_optimizer,
    cosine_schedule,
    evaluate,
    mask_spans,
    schedule_learning_rate,
    train_step,
)
from tests.support.fake_batch import fake_batch

SPEC = InputSpec(num_steps=6, num_frames=2, crop_px=16, num_mels=8, num_hops=12)


def make_model() -> EmotionModel:
    torch.manual_seed(0)
    return EmotionModel(SPEC, ModelConfig(feature_dim=8, head_dim=8))


def test_only_matrices_decay():
    model = make_model()
    decayed, undecayed = build_optimizer(model, learning_rate=1e-3, weight_decay=0.1).param_groups
    assert (decayed["weight_decay"], undecayed["weight_decay"]) == (0.1, 0.0)
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all(
        "bias" in names[id(p)] or isinstance(_owner(model, names[id(p)]), nn.GroupNorm | nn.LayerNorm)
        for p in undecayed["params"]
    )
    assert len(decayed["params"]) + len(undecayed["params"]) == len(names)


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def test_schedule_rises_to_one_then_falls_to_zero():
    shares = [cosine_schedule(step, num_steps=20, num_warmup=4) for step in range(22)]
    assert shares[:4] == [0.25, 0.5, 0.75, 1.0]
    assert shares[4] == 1.0
    assert shares[12] == pytest.approx(0.5)
    assert shares[4:] == sorted(shares[4:], reverse=True)
    assert shares[20:] == [0.0, 0.0]
    assert cosine_schedule(0, num_steps=5, num_warmup=0) == 1.0


def test_the_scheduled_learning_rate_reaches_every_group():
    optimizer = build_optimizer(make_model(), learning_rate=1e-3, weight_decay=0.1)
    assert schedule_learning_rate(optimizer, 1, peak=1e-3, num_steps=20, warmup_fraction=0.2) == 5e-4
    assert {group["lr"] for group in optimizer.param_groups} == {5e-4}


def test_steps_are_bit_equal_from_equal_seeds_and_lower_the_loss():
    def run() -> list[float]:
        model = make_model()
        optimizer = build_optimizer(model, learning_rate=3e-3, weight_decay=0.0)
        return [train_step(model, fake_batch(SPEC, 4), optimizer, clip_norm=1.0) for _ in range(25)]

    first = run()
    assert first == run()
    assert first[-1] < 0.7 * first[0]


def test_a_step_of_nothing_but_missing_data_changes_only_by_decay():
    model, batch = make_model(), fake_batch(SPEC, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = dataclasses.replace(batch, target_ok_BL=torch.zeros_like(batch.target_ok_BL))
    optimizer = build_optimizer(model, learning_rate=1e-2, weight_decay=0.0)
    assert train_step(model, batch, optimizer, clip_norm=1.0) == 0.0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_an_unstable_step_raises_and_leaves_the_model_alone():
    model, batch = make_model(), fake_batch(SPEC, 2)
    batch = dataclasses.replace(batch, mel_BLSM=torch.full_like(batch.mel_BLSM, torch.nan))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = build_optimizer(model, learning_rate=1e-2, weight_decay=0.1)
    with pytest.raises(FloatingPointError, match="training became unstable: loss nan"):
        train_step(model, batch, optimizer, clip_norm=1.0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_loss_takes_the_sums_of_all_ranks():
    model, batch, shapes = make_model(), fake_batch(SPEC, 2), []

    def reduce(sums: torch.Tensor) -> torch.Tensor:
        shapes.append(sums.shape)
        return sums

    train_step(model, batch, build_optimizer(model, learning_rate=0.0, weight_decay=0.0), clip_norm=1.0, reduce=reduce)
    assert shapes == [(6, 2)]


def test_evaluation_is_the_ccc_of_clipped_predictions_and_restores_the_mode():
    model, batches = make_model().train(), [fake_batch(SPEC, 3, seed) for seed in range(3)]
    with torch.no_grad():
        model.features.valence[-1].bias += 0.9
    meter, expected = evaluate(model, iter(batches)), ConcordanceMeter()
    assert model.training
    model.eval()
    for batch in batches:
        prediction = model(batch)
        expected.update(prediction.values_BL2.clamp(-1, 1), batch.target_BL2, batch.target_ok_BL & prediction.valid_BL)
    assert meter.compute() == pytest.approx(expected.compute())
    assert meter.num_rows == expected.num_rows > 0


def test_masked_spans_are_contiguous_single_modality_and_repeatable():
    batch = fake_batch(InputSpec(num_steps=12, num_frames=1, crop_px=4, num_mels=2, num_hops=2), 400)
    everything = torch.ones_like(batch.video_ok_BL)
    batch = dataclasses.replace(batch, video_ok_BL=everything, audio_ok_BL=everything)
    masked = mask_spans(batch, 0.5, torch.Generator().manual_seed(3))
    video, audio = ~masked.video_ok_BL, ~masked.audio_ok_BL
    touched = (video | audio).any(1)
    assert 150 < int(touched.sum()) < 250
    assert not (video.any(1) & audio.any(1)).any()
    assert 60 < int(video.any(1).sum()) < 150
    edges = (
        (video | audio)
        .int()
        .diff(dim=1, prepend=torch.zeros(400, 1, dtype=torch.int), append=torch.zeros(400, 1, dtype=torch.int))
    )
    assert torch.equal((edges == 1).sum(1), touched.int())
    assert set((video | audio).sum(1).tolist()) == set(range(13))
    again = mask_spans(batch, 0.5, torch.Generator().manual_seed(3))
    assert torch.equal(again.video_ok_BL, masked.video_ok_BL)
    assert masked.frames_BLTHWC is batch.frames_BLTHWC


def test_masking_never_takes_the_only_modality_and_chance_zero_masks_nothing():
    batch = fake_batch(SPEC, 200)
    valid = batch.video_ok_BL | batch.audio_ok_BL
    masked = mask_spans(batch, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(masked.video_ok_BL | masked.audio_ok_BL, valid)
    assert not torch.equal(masked.video_ok_BL, batch.video_ok_BL)
    untouched = mask_spans(batch, 0.0, torch.Generator().manual_seed(0))
    assert torch.equal(untouched.video_ok_BL, batch.video_ok_BL)
    assert torch.equal(untouched.audio_ok_BL, batch.audio_ok_BL)
