"""Corruption of training batches: drawn by the position in the global batch, swapped between groups, never marked."""

import dataclasses

import pytest
import torch

from iaca_model.batch import FeatureBatch
from iaca_model.config import InputSpec
from pipeline.config.job_sections import TrainConfig
from pipeline.training.augmentation import corrupt_part
from pipeline.training.loader import BatchPart
from tests.support.fake_batch import fake_batch

SPEC = InputSpec(num_steps=8, num_frames=2, crop_px=8, num_hops=4, num_mels=3)
GROUPS = ("a", "a", "b", "b", "c", "a", "b", "b")
STEP = 5


def settings(**values):
    return TrainConfig(**{"corrupt_modality": 1.0, **values})


def only(kind, **values):
    kinds = {f"corrupt_{name}": float(name == kind) for name in ("missing", "noisy", "swapped")}
    return settings(**kinds, **values)


@pytest.fixture
def whole():
    return BatchPart(fake_batch(SPEC, len(GROUPS)), 0, GROUPS)


def slices(part, *stops):
    """The part cut into those of several ranks."""
    starts = (0, *stops)
    for start, stop in zip(starts, (*stops, len(part.batch)), strict=True):
        yield BatchPart(part.batch.slice(start, stop), part.first + start, part.groups[start:stop])


def corrupted(part, chosen, step=STEP):
    return corrupt_part(part, part.batch, chosen, step)


def changed(part, batch):
    """bool (B, L, 2): where crops or sound differ from those of the part."""
    pairs = zip(part.batch.tensors()[:2], batch.tensors()[:2], strict=True)
    return torch.stack([(before != after).flatten(2).any(-1) for before, after in pairs], dim=-1)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.tensors(), other.tensors(), strict=True))


def joined(batches):
    return [torch.cat(tensors) for tensors in zip(*(batch.tensors() for batch in batches), strict=True)]


@pytest.mark.parametrize("stops", [(4,), (3,), (2, 4, 6), range(1, 8)])
@pytest.mark.parametrize("kind", ["missing", "noisy"])
def test_any_number_of_ranks_corrupts_the_same_in_the_same_way(whole, kind, stops):
    alone = corrupted(whole, only(kind))
    assert changed(whole, alone).any()
    together = joined([corrupted(part, only(kind)) for part in slices(whole, *stops)])
    assert all(torch.equal(a, b) for a, b in zip(together, alone.tensors(), strict=True))


def test_ranks_swap_the_same_spans_where_each_has_two_groups(whole):
    everywhere = BatchPart(all_present(whole.batch), 0, GROUPS)
    alone = corrupted(everywhere, settings())
    together = [changed(part, corrupted(part, settings())) for part in slices(everywhere, 4)]
    assert torch.equal(torch.cat(together), changed(everywhere, alone))


def all_present(batch):
    present_BL = torch.ones_like(batch.video_ok_BL)
    return dataclasses.replace(batch, video_ok_BL=present_BL, audio_ok_BL=present_BL)


def test_swapped_spans_are_those_of_the_next_sequence_of_another_group(whole):
    whole = BatchPart(all_present(whole.batch), 0, GROUPS)
    batch = corrupted(whole, only("swapped"))
    changed_BL2 = changed(whole, batch)
    assert (changed_BL2.any(1).sum(1) == 1).all()
    for i, other in enumerate((2, 2, 4, 4, 5, 6, 0, 0)):
        for modality in range(2):
            span_L = changed_BL2[i, :, modality]
            given = whole.batch.tensors()[modality][other]
            assert torch.equal(batch.tensors()[modality][i, span_L], given[span_L])


def test_without_another_group_only_swaps_are_left_out(whole):
    of_one = BatchPart(whole.batch, 0, ("a",) * len(GROUPS))
    assert same(corrupted(of_one, only("swapped")), whole.batch)
    assert not same(corrupted(of_one, only("noisy")), whole.batch)
    mixed, unswapped = (changed(whole, corrupted(part, settings())) for part in (whole, of_one))
    assert (mixed & ~unswapped).any()
    assert not (unswapped & ~mixed).any()


def test_nothing_is_corrupted_without_a_chance(whole):
    assert corrupted(whole, TrainConfig()) is whole.batch


def test_padding_is_neither_corrupted_nor_swapped_in(whole):
    padding = fake_batch(SPEC, 3, seed=2)
    nothing_BL = torch.zeros_like(padding.video_ok_BL)
    padding = dataclasses.replace(padding, video_ok_BL=nothing_BL, audio_ok_BL=nothing_BL, target_ok_BL=nothing_BL)
    padded = BatchPart(type(padding)(*joined([whole.batch, padding])), 0, (*GROUPS, None, None, None))
    for chosen in (settings(), only("swapped"), only("noisy")):
        batch = corrupted(padded, chosen)
        assert same(batch.slice(0, len(GROUPS)), corrupted(whole, chosen))
        assert same(batch.slice(len(GROUPS), len(padded.batch)), padding)


def test_what_is_masked_in_training_is_not_corrupted_but_may_be_swapped_in(whole):
    whole = BatchPart(all_present(whole.batch), 0, GROUPS)
    deaf = dataclasses.replace(whole.batch, audio_ok_BL=torch.zeros_like(whole.batch.audio_ok_BL))
    assert same(corrupt_part(whole, deaf, settings(), STEP), deaf)
    first_masked = whole.batch.audio_ok_BL.clone()
    first_masked[2] = False  # from which the first two sequences are swapped
    masked = dataclasses.replace(whole.batch, audio_ok_BL=first_masked)
    before, after = (corrupt_part(whole, given, only("swapped"), STEP) for given in (whole.batch, masked))
    assert same(before.slice(0, 2), after.slice(0, 2))


@pytest.mark.parametrize("form", ["clips", "features"])
def test_masking_the_modality_itself_leaves_the_noise_of_its_other_steps_as_it_is(whole, form):
    """What is masked is drawn by rank; the noise must not follow it."""
    batch = all_present(whole.batch)
    if form == "features":
        batch = FeatureBatch(batch.mel_BLSM.flatten(2), 2 * batch.mel_BLSM.flatten(2), *batch.tensors()[2:])
    part = BatchPart(batch, 0, GROUPS)
    masked_BL = torch.zeros_like(batch.video_ok_BL)
    masked_BL[:, ::2] = True
    masked = dataclasses.replace(batch, video_ok_BL=~masked_BL, audio_ok_BL=~masked_BL)
    before, after = (corrupt_part(part, given, only("noisy"), STEP) for given in (batch, masked))
    assert (changed(part, after).any(1).any(0)).all(), "both modalities have noise"
    for one, other, read in zip(before.tensors()[:2], after.tensors()[:2], batch.tensors()[:2], strict=True):
        assert torch.equal(one[~masked_BL], other[~masked_BL])
        assert torch.equal(read[masked_BL], other[masked_BL])


def test_masks_and_targets_stay(whole):
    batch = corrupted(whole, settings())
    assert all(torch.equal(a, b) for a, b in zip(batch.tensors()[2:], whole.batch.tensors()[2:], strict=True))


def test_seed_step_and_position_decide(whole):
    reference = corrupted(whole, settings())
    assert same(corrupted(whole, settings()), reference)
    assert not same(corrupted(whole, settings(), step=STEP + 1), reference)
    assert not same(corrupted(whole, settings(seed=1)), reference)
    assert not same(corrupted(BatchPart(whole.batch, 8, GROUPS), settings()), reference)


def test_the_chance_is_per_sequence(whole):
    counts = [
        int(changed(part, corrupted(part, settings(corrupt_modality=0.5), step)).any(2).any(1).sum())
        for part in [BatchPart(all_present(whole.batch), 0, GROUPS)]
        for step in range(60)
    ]
    assert sum(counts) / (60 * len(GROUPS)) == pytest.approx(0.5, abs=0.08)
    assert len(set(counts)) > 3
