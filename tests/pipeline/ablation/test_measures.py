"""Detection and missing sound, on gates and models whose answer is known."""

import itertools

import pytest
import torch

from iaca_model.corruption import HEALTHY, KINDS
from iaca_model.model import Prediction
from pipeline.ablation.benchmark import World
from pipeline.ablation.corruption import corrupt
from pipeline.ablation.measures import MASKS, PATTERNS, PERCENTS, auroc, ccc, detection, missing_audio


def naive_auroc(scores, positive):
    pairs = list(itertools.product(scores[positive].tolist(), scores[~positive].tolist()))
    return sum(1.0 if high > low else 0.5 if high == low else 0.0 for high, low in pairs) / len(pairs)


def test_auroc_is_the_share_of_ordered_pairs():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 6, (60,), generator=generator).float()  # with ties
    positive = torch.rand(60, generator=generator) < 0.4
    assert auroc(scores, positive) == pytest.approx(naive_auroc(scores, positive))
    assert auroc(scores, torch.zeros(60, dtype=torch.bool)) is None


@pytest.fixture(scope="module")
def corrupted():
    return corrupt(World(0, 16, 8).draw(300), 0.8, torch.Generator().manual_seed(0))


def weights_of(corrupted, trust_in_healthy: float):
    bad_NL2 = corrupted.kind_NL2 != HEALTHY
    other_NL2 = bad_NL2.flip(-1)
    return torch.where(bad_NL2, 1 - trust_in_healthy, torch.where(other_NL2, trust_in_healthy, 0.5))


def test_a_gate_with_the_truth_is_perfect_and_its_gap_grows_with_its_margin(corrupted):
    for trust in (1.0, 0.6):
        measured = detection(weights_of(corrupted, trust), corrupted.kind_NL2)
        assert all(measured[name] == 1.0 for name in (*KINDS, "all"))
        assert measured["gap"] == pytest.approx(2 * trust - 1, abs=1e-5)


def test_a_gate_that_is_fooled_and_one_that_never_moves(corrupted):
    assert detection(weights_of(corrupted, 0.0), corrupted.kind_NL2)["all"] == 0.0
    frozen = detection(weights_of(corrupted, 0.5), corrupted.kind_NL2)
    assert (frozen["all"], frozen["gap"]) == (0.5, 0.0)
    healthy_NL2 = torch.full_like(corrupted.kind_NL2, HEALTHY)
    assert set(detection(weights_of(corrupted, 0.5), healthy_NL2).values()) == {None}


def test_kinds_are_measured_separately(corrupted):
    weights = weights_of(corrupted, 1.0)
    swapped_NL = (corrupted.kind_NL2 == KINDS.index("swapped")).any(-1)
    measured = detection(torch.where(swapped_NL[..., None], 0.5, weights), corrupted.kind_NL2)
    assert (measured["missing"], measured["noisy"], measured["swapped"]) == (1.0, 1.0, 0.5)
    assert 0.5 < measured["all"] < 1.0


def predict_where_heard(sequences, audio_ok_NL):
    """Predicts the label where the sound is not all zeros, else 0."""
    heard_NL = sequences.audio_NLD.abs().sum(-1) > 0
    known_NL = heard_NL if audio_ok_NL is None else audio_ok_NL
    assert torch.equal(heard_NL, known_NL)
    values_NL2 = sequences.target_NL2 * heard_NL[..., None]
    return Prediction(values_NL2, torch.ones_like(heard_NL), {}, {})


def test_the_curve_removes_the_share_of_sound_that_it_states():
    rows = missing_audio(predict_where_heard, World(0, 16, 8).draw(150), seed=0)
    assert len(rows) == len(PERCENTS) * len(PATTERNS) * len(MASKS)
    for pattern, mask in itertools.product(PATTERNS, MASKS):
        curve = [row["mean"] for row in rows if (row["pattern"], row["mask"]) == (pattern, mask)]
        assert curve[0] == pytest.approx(1.0)
        assert curve == sorted(curve, reverse=True)
        assert curve[-1] == 0.0


def test_ccc_clips():
    sequences = World(0, 16, 8).draw(20)
    far = Prediction(sequences.target_NL2.sign() * 7, torch.ones(20, 16, dtype=torch.bool), {}, {})
    near = far._replace(values_BL2=sequences.target_NL2.sign())
    assert ccc(far, sequences) == ccc(near, sequences)
