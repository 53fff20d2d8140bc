"""What a corrupted step holds, which steps may be corrupted, and that nothing but the content tells it."""

import dataclasses
import math

import pytest
import torch

from iaca_model import corruption
from iaca_model.batch import Batch, FeatureBatch
from iaca_model.config import InputSpec
from iaca_model.corruption import HEALTHY, KINDS, MISSING, NOISY, SWAPPED, corrupt, draw_corruption, draw_spans
from pipeline.media.log_mel import FLOOR_POWER
from tests.support.fake_batch import fake_batch

NUM, LENGTH = 6, 8
SPEC = InputSpec(num_steps=LENGTH, num_frames=2, crop_px=12, num_hops=10, num_mels=8)
VIDEO, AUDIO = 0, 1


def fake_features(seed=0):
    generator = torch.Generator().manual_seed(seed)
    clips = fake_batch(SPEC, NUM, seed)
    content = (3 + 2 * torch.randn(NUM, LENGTH, dim, generator=generator) for dim in (40, 30))
    return FeatureBatch(*content, *clips.tensors()[2:])


def fake_clips(seed=0):
    return fake_batch(SPEC, NUM, seed)


FORMS = pytest.mark.parametrize("make", [fake_clips, fake_features])


def streams(seed=0, num=NUM):
    return [torch.Generator().manual_seed(100 * seed + b) for b in range(num)]


def kinds(seed=0, num_steps=LENGTH, chance=1.0, shares=(1, 1, 1), num=NUM):
    return torch.stack([draw_corruption(num_steps, chance, shares, stream) for stream in streams(seed, num)])


def everywhere(kind, modality):
    kind_BL2 = torch.full((NUM, LENGTH, 2), HEALTHY, dtype=torch.uint8)
    kind_BL2[..., modality] = kind
    return kind_BL2


def both_ok(batch):
    return batch.video_ok_BL & batch.audio_ok_BL


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.tensors(), other.tensors(), strict=True))


@FORMS
def test_masks_targets_and_healthy_steps_are_untouched_and_the_given_batch_too(make):
    batch, before = make(), make()
    corrupted, applied_BL2 = corrupt(batch, kinds(), make(1), streams())
    assert same(batch, before)
    assert (applied_BL2 != HEALTHY).any()
    for given, returned in zip(batch.tensors()[2:], corrupted.tensors()[2:], strict=True):
        assert torch.equal(given, returned)
    for modality in (VIDEO, AUDIO):
        is_healthy_BL = applied_BL2[..., modality] == HEALTHY
        given, returned = batch.tensors()[modality], corrupted.tensors()[modality]
        assert returned.dtype == given.dtype
        assert torch.equal(given[is_healthy_BL], returned[is_healthy_BL])
        changed_BL = (given != returned).flatten(2).any(-1)
        assert torch.equal(changed_BL, ~is_healthy_BL & both_ok(batch))


@FORMS
@pytest.mark.parametrize("modality", [VIDEO, AUDIO])
@pytest.mark.parametrize("kind", [MISSING, NOISY, SWAPPED])
def test_only_steps_with_both_modalities_are_corrupted(make, modality, kind):
    batch, other = make(), make(1)
    _, applied_BL2 = corrupt(batch, everywhere(kind, modality), other, streams())
    expected_BL = both_ok(batch)
    if kind == SWAPPED:  # what the other sequence lacks cannot be swapped in
        expected_BL = expected_BL & (other.video_ok_BL, other.audio_ok_BL)[modality]
    assert 0 < expected_BL.sum() < both_ok(batch).numel()
    assert torch.equal(applied_BL2[..., modality] == kind, expected_BL)
    assert (applied_BL2[..., 1 - modality] == HEALTHY).all()


@FORMS
def test_missing_is_what_the_pipeline_gives_where_nothing_was_recorded(make):
    batch = make()
    black = 0
    silence = 10 * math.log10(FLOOR_POWER) if make is fake_clips else 0
    for modality, empty in ((VIDEO, black), (AUDIO, silence)):
        corrupted, _ = corrupt(batch, everywhere(MISSING, modality), make(1), streams())
        assert (corrupted.tensors()[modality][both_ok(batch)] == empty).all()


@FORMS
def test_swapped_steps_hold_the_same_steps_of_the_other_sequence(make):
    batch, other = make(), make(1)
    for modality in (VIDEO, AUDIO):
        corrupted, applied_BL2 = corrupt(batch, everywhere(SWAPPED, modality), other, streams())
        swapped_BL = applied_BL2[..., modality] == SWAPPED
        assert torch.equal(corrupted.tensors()[modality][swapped_BL], other.tensors()[modality][swapped_BL])


def test_noisy_crops_keep_a_share_of_their_contrast_below_strong_noise():
    batch = whole(fake_batch(SPEC, NUM))
    for grey in (40, 127, 215):
        flat = dataclasses.replace(batch, frames_BLTHWC=torch.full_like(batch.frames_BLTHWC, grey))
        noisy = corrupt(flat, everywhere(NOISY, VIDEO), flat, streams())[0].frames_BLTHWC.float()
        assert noisy.mean() == pytest.approx(127.5 + 0.3 * (grey - 127.5), abs=2)
        assert noisy.std() == pytest.approx(corruption.CROP_NOISE, rel=0.06)  # a few are clipped to 0 or 255


def test_noise_of_the_sound_is_ten_times_the_mean_power_of_the_sequence():
    batch = whole(fake_batch(SPEC, NUM))
    noisy = corrupt(batch, everywhere(NOISY, AUDIO), batch, streams())[0].mel_BLSM
    power, noisy_power = 10 ** (batch.mel_BLSM / 10), 10 ** (noisy / 10)
    assert (noisy >= batch.mel_BLSM - 1e-3).all()
    ratio_B = (noisy_power - power).mean((1, 2, 3)) / power.mean((1, 2, 3))
    assert ratio_B.tolist() == pytest.approx([10.0] * NUM, rel=0.2)


def test_noisy_features_keep_a_share_below_noise_in_deviations_of_their_sequence():
    batch = whole(fake_features())
    loud = dataclasses.replace(batch, audio_BLD=100 * batch.audio_BLD)
    for audio_scale, given in ((1, batch), (100, loud)):
        noisy = corrupt(given, everywhere(NOISY, AUDIO), given, streams())[0].audio_BLD
        noise = (noisy - 0.3 * given.audio_BLD) / audio_scale
        assert noise.std() == pytest.approx(1.5 * 2, rel=0.05)
        assert noise.mean() == pytest.approx(0, abs=0.3)


def whole(batch):
    present_BL = torch.ones_like(batch.video_ok_BL)
    return dataclasses.replace(batch, video_ok_BL=present_BL, audio_ok_BL=present_BL)


@FORMS
def test_what_a_sequence_becomes_depends_on_nothing_else_in_the_batch(make):
    batch, other = make(), make(1)
    kind_BL2 = kinds(shares=(0, 1, 1))
    corrupted, applied_BL2 = corrupt(batch, kind_BL2, other, streams())
    for b in range(NUM):
        alone, kind_1L2 = corrupt(
            batch.slice(b, b + 1), kind_BL2[b : b + 1], other.slice(b, b + 1), streams()[b : b + 1]
        )
        assert same(alone, corrupted.slice(b, b + 1))
        assert torch.equal(kind_1L2, applied_BL2[b : b + 1])


@FORMS
def test_absent_steps_change_the_noise_of_no_other(make):
    batch, kind_BL2 = whole(make()), everywhere(NOISY, VIDEO)
    absent_BL = torch.zeros(NUM, LENGTH, dtype=torch.bool)
    absent_BL[:, 2] = True
    holed = dataclasses.replace(batch, audio_ok_BL=~absent_BL)
    one, other = (corrupt(given, kind_BL2, given, streams())[0].tensors()[VIDEO] for given in (batch, holed))
    assert torch.equal(one[~absent_BL], other[~absent_BL])
    assert torch.equal(other[absent_BL], batch.tensors()[VIDEO][absent_BL])


@FORMS
def test_absent_steps_may_hold_anything(make):
    batch = make()
    video, audio = batch.tensors()[:2]
    unusable = type(batch)(
        video.where(expanded(batch.video_ok_BL, video), torch.nan if video.is_floating_point() else 200),
        audio.where(expanded(batch.audio_ok_BL, audio), torch.inf),
        *batch.tensors()[2:],
    )
    for kind_BL2 in (kinds(), everywhere(NOISY, VIDEO), everywhere(NOISY, AUDIO), everywhere(SWAPPED, AUDIO)):
        one, other = (corrupt(given, kind_BL2, given, streams())[0] for given in (batch, unusable))
        for modality, ok_BL in ((VIDEO, batch.video_ok_BL), (AUDIO, batch.audio_ok_BL)):
            assert torch.equal(one.tensors()[modality][ok_BL], other.tensors()[modality][ok_BL])


def expanded(ok_BL, content):
    return ok_BL.reshape(*ok_BL.shape, *[1] * (content.ndim - 2))


@pytest.mark.parametrize("empty", ["silent", "absent"])
def test_a_sequence_without_sound_is_made_noisy_without_a_nan(empty):
    batch = whole(fake_batch(SPEC, NUM))
    if empty == "silent":
        batch = dataclasses.replace(batch, mel_BLSM=torch.full_like(batch.mel_BLSM, corruption.SILENCE_DB))
    else:
        batch = dataclasses.replace(batch, audio_ok_BL=torch.zeros_like(batch.audio_ok_BL))
    for given in (batch, FeatureBatch(batch.mel_BLSM[..., 0], batch.mel_BLSM[..., 0], *batch.tensors()[2:])):
        corrupted, _ = corrupt(given, everywhere(NOISY, AUDIO), given, streams())
        assert corrupted.tensors()[AUDIO].isfinite().all()


def test_a_drawn_corruption_is_one_span_of_one_kind_in_one_modality():
    kind_BL2 = kinds(num_steps=16, num=600)
    corrupted_BL2 = kind_BL2 != HEALTHY
    assert kind_BL2.dtype == torch.uint8
    assert (corrupted_BL2.any(1).sum(1) == 1).all()
    span_BL = corrupted_BL2.any(2)
    starts_B = torch.nn.functional.pad(span_BL.int(), (1, 0)).diff(dim=1).clamp_min(0).sum(1)
    assert (starts_B == 1).all()
    assert set(span_BL.sum(1).tolist()) == set(range(3, 13))
    assert corrupted_BL2.any(1).float().mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.07)
    assert all(len(kind_L2[kind_L2 != HEALTHY].unique()) == 1 for kind_L2 in kind_BL2)


@pytest.mark.parametrize("shares", [(1, 1, 1), (0, 3, 1), (2, 0, 0), (0, 0, 0.5)])
def test_chance_and_shares_are_kept_and_the_same_numbers_are_drawn(shares):
    kind_BL2 = kinds(chance=0.4, shares=shares, num=1500)
    lowest_B = kind_BL2.flatten(1).min(1).values
    assert (lowest_B != HEALTHY).float().mean() == pytest.approx(0.4, abs=0.05)
    corrupted_B = lowest_B[lowest_B != HEALTHY]
    found = [(corrupted_B == kind).float().mean().item() for kind in range(len(KINDS))]
    assert found == pytest.approx([share / sum(shares) for share in shares], abs=0.06)
    assert all(share > 0 or kind == 0 for share, kind in zip(shares, found, strict=True))
    after = []
    for chance in (0.0, 1.0):
        generator = torch.Generator().manual_seed(5)
        draw_corruption(LENGTH, chance, shares, generator)
        after.append(torch.rand(1, generator=generator).item())
    assert after[0] == after[1]


def test_short_sequences_have_short_spans():
    for num_steps, lengths in ((1, {1}), (2, {1}), (3, {2}), (4, {3}), (5, {3}), (8, {3, 4, 5, 6})):
        spans_NL = draw_spans(300, num_steps, 1.0, torch.Generator().manual_seed(0))
        assert set(spans_NL.sum(1).tolist()) == lengths
    assert not draw_spans(300, 8, 0.0, torch.Generator().manual_seed(0)).any()


def test_no_chance_changes_nothing():
    batch = fake_batch(SPEC, NUM)
    corrupted, applied_BL2 = corrupt(batch, kinds(chance=0.0), fake_batch(SPEC, NUM, 1), streams())
    assert isinstance(corrupted, Batch)
    assert same(corrupted, batch)
    assert (applied_BL2 == HEALTHY).all()
