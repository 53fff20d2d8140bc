"""The inconsistency benchmark: what is corrupted, how, and that nothing else changes."""

import pytest
import torch

from iaca_model.corruption import HEALTHY, KINDS
from pipeline.ablation.benchmark import World, make_trial_data
from pipeline.ablation.corruption import CorruptedSource, corrupt, span_lengths
from pipeline.ablation.feature_sequences import TrialSequences
from pipeline.config.job_sections import AblateConfig

MISSING, NOISY, SWAPPED = range(len(KINDS))


@pytest.fixture(scope="module")
def clean() -> TrialSequences:
    return World(seed=0, num_steps=16, feature_dim=8).draw(400)


def corrupted_with(clean: TrialSequences, chance: float = 0.8, seed: int = 0) -> TrialSequences:
    return corrupt(clean, chance, torch.Generator().manual_seed(seed))


def sides(sequences: TrialSequences):
    yield sequences.video_NLD, sequences.kind_NL2[..., 0]
    yield sequences.audio_NLD, sequences.kind_NL2[..., 1]


def test_the_seed_fixes_the_world_and_each_draw_is_fresh():
    first, again = World(1, 16, 8), World(1, 16, 8)
    drawn = first.draw(3)
    assert torch.equal(drawn.video_NLD, again.draw(3).video_NLD)
    assert not torch.equal(first.draw(3).target_NL2, drawn.target_NL2)
    assert not torch.equal(World(2, 16, 8).draw(3).video_NLD, drawn.video_NLD)


def test_labels_are_smooth_and_within_range(clean):
    assert clean.target_NL2.abs().max() <= 1
    assert clean.target_NL2.diff(dim=1).abs().mean() < clean.target_NL2.std() / 2
    assert (clean.kind_NL2 == HEALTHY).all()


def test_each_modality_shows_both_dimensions_but_not_equally_well(clean):
    def explained(features_NLD):
        x = torch.cat([features_NLD, torch.ones_like(features_NLD[..., :1])], dim=-1).flatten(0, 1)
        y = clean.target_NL2.flatten(0, 1)
        rest = y - x @ torch.linalg.lstsq(x, y).solution
        return 1 - rest.var(0) / y.var(0)

    video, audio = explained(clean.video_NLD), explained(clean.audio_NLD)
    assert (torch.stack([video, audio]) > 0.1).all()
    assert video[0] > audio[0]
    assert audio[1] > video[1]


def test_every_kind_occurs_on_both_sides_and_never_on_both_at_once(clean):
    corrupted = corrupted_with(clean)
    for _, kind_NL in sides(corrupted):
        assert set(kind_NL.unique().tolist()) == {MISSING, NOISY, SWAPPED, HEALTHY}
    assert ((corrupted.kind_NL2 != HEALTHY).sum(-1) <= 1).all()
    assert torch.equal(corrupted.target_NL2, clean.target_NL2)


def test_each_kind_does_what_its_name_promises_and_clean_steps_are_untouched(clean):
    for (before_NLD, _), (after_NLD, kind_NL) in zip(sides(clean), sides(corrupted_with(clean)), strict=True):
        assert torch.equal(after_NLD[kind_NL == HEALTHY], before_NLD[kind_NL == HEALTHY])
        assert not after_NLD[kind_NL == MISSING].any()
        assert torch.equal(after_NLD[kind_NL == SWAPPED], before_NLD.roll(1, dims=0)[kind_NL == SWAPPED])
        noise_MD = (after_NLD - before_NLD)[kind_NL == NOISY]
        assert noise_MD.std() > before_NLD.std()


def test_a_corrupted_sequence_has_one_span(clean):
    corrupted_NL = corrupted_with(clean).kind_NL2[..., 0] != HEALTHY
    starts_N = torch.nn.functional.pad(corrupted_NL.int(), (1, 1)).diff(dim=1).clamp_min(0).sum(1)
    assert set(starts_N.unique().tolist()) == {0, 1}
    assert 0.7 < corrupted_NL.any(1).float().mean() < 0.9


def test_no_chance_corrupts_nothing_and_the_seed_decides(clean):
    assert torch.equal(corrupted_with(clean, chance=0.0).video_NLD, clean.video_NLD)
    assert torch.equal(corrupted_with(clean).kind_NL2, corrupted_with(clean).kind_NL2)
    assert not torch.equal(corrupted_with(clean).kind_NL2, corrupted_with(clean, seed=1).kind_NL2)


def test_the_same_seed_gives_the_data_that_published_numbers_were_measured_on():
    data = make_trial_data(AblateConfig(num_train=64, num_test=32, feature_dim=6), seed=9)
    for drawn, counts, video_sum, audio_sum in (
        (data.train, [182, 173, 212, 1481], 2428.0114548, 2122.2663299),
        (data.corrupted, [76, 148, 99, 701], 1368.1437061, 1094.7223738),
    ):
        assert [int((drawn.kind_NL2 == kind).sum()) for kind in range(4)] == counts
        assert drawn.video_NLD.double().sum().item() == pytest.approx(video_sum, abs=1e-3)
        assert drawn.audio_NLD.double().sum().item() == pytest.approx(audio_sum, abs=1e-3)
    assert data.corrupted.video_NLD[0, :2, 0].tolist() == pytest.approx([0.1194171533, -0.0346514843], abs=1e-6)


@pytest.mark.parametrize("changes", [{}, {"max_span": 5}, {"min_span": 12}, {"num_steps": 6, "max_span": 9}])
def test_the_longest_span_is_the_one_that_the_settings_are_checked_against(changes):
    settings = AblateConfig(**changes)
    lengths = span_lengths(settings).draw(500, settings.num_steps, torch.Generator().manual_seed(0))
    assert int(lengths.max()) == settings.longest_span(settings.num_steps)


def test_the_same_seed_corrupts_a_large_set_in_the_same_way():
    taken = CorruptedSource.draw(World(5, 8, 6).draw(40), 0.9, seed=3).take(torch.arange(3, 30))
    sums = [features_NLD.double().sum().item() for features_NLD, _ in sides(taken)]
    assert sums == pytest.approx([619.1590517558, 698.1508053081], abs=1e-3)
