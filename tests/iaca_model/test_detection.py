"""Detection of the corrupted modality, by verdicts whose answer is known."""

import itertools

import pytest
import torch

from iaca_model.corruption import HEALTHY, KINDS, draw_corruption
from iaca_model.detection import auroc, detection


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
    """Kinds (N, L, 2) of sequences most of which have a corrupted span."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([draw_corruption(16, 0.9, (1, 1, 1), generator) for _ in range(300)])


def weights_of(corrupted, trust_in_healthy: float):
    bad_NL2 = corrupted != HEALTHY
    other_NL2 = bad_NL2.flip(-1)
    return torch.where(bad_NL2, 1 - trust_in_healthy, torch.where(other_NL2, trust_in_healthy, 0.5))


def test_a_gate_with_the_truth_is_perfect_and_its_gap_grows_with_its_margin(corrupted):
    for trust in (1.0, 0.6):
        measured = detection(weights_of(corrupted, trust), corrupted)
        assert all(measured[name] == 1.0 for name in (*KINDS, "all"))
        assert measured["gap"] == pytest.approx(2 * trust - 1, abs=1e-5)


def test_a_gate_that_is_fooled_and_one_that_never_moves(corrupted):
    assert detection(weights_of(corrupted, 0.0), corrupted)["all"] == 0.0
    frozen = detection(weights_of(corrupted, 0.5), corrupted)
    assert (frozen["all"], frozen["gap"]) == (0.5, 0.0)
    healthy_NL2 = torch.full_like(corrupted, HEALTHY)
    assert set(detection(weights_of(corrupted, 0.5), healthy_NL2).values()) == {None}


def test_kinds_are_measured_separately(corrupted):
    weights = weights_of(corrupted, 1.0)
    swapped_NL = (corrupted == KINDS.index("swapped")).any(-1)
    measured = detection(torch.where(swapped_NL[..., None], 0.5, weights), corrupted)
    assert (measured["missing"], measured["noisy"], measured["swapped"]) == (1.0, 1.0, 0.5)
    assert 0.5 < measured["all"] < 1.0
