"""CCC and its loss against independent implementations, over uneven splits, and in every degenerate case."""

from itertools import pairwise

import audmetric
import numpy as np
import pytest
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st

from iaca_model.loss import concordance_loss, moment_sums
from iaca_model.metrics import ConcordanceMeter

quick = settings(max_examples=25, deadline=None)


def rows(seed: int, num: int, offset: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(num, 2, generator=generator) * 2 - 1 + offset
    values = 0.6 * target + 0.3 * torch.randn(num, 2, generator=generator) + 0.1
    return values, target, torch.rand(num, generator=generator) > 0.2


def measured(*parts) -> dict:
    meter = ConcordanceMeter()
    meter.update(*parts)
    return meter.compute()


@quick
@given(st.integers(0, 2**31), st.integers(30, 400), st.lists(st.integers(0, 400), max_size=6))
def test_merged_over_uneven_splits_it_equals_audmetric(seed, num, cuts):
    values, target, ok = rows(seed, num)
    bounds = [0, *sorted(min(cut, num) for cut in cuts), num]
    meter = ConcordanceMeter()
    for start, stop in pairwise(bounds):
        part = ConcordanceMeter()
        part.update(values[start:stop], target[start:stop], ok[start:stop])
        meter = ConcordanceMeter.from_state(meter.state() + part.state())
    measured_ccc = meter.compute()
    assert meter.num_rows == int(ok.sum())
    for column, name in enumerate(("valence", "arousal")):
        x, y = values[ok, column].double(), target[ok, column].double()
        assert measured_ccc[name] == pytest.approx(audmetric.concordance_cc(y.numpy(), x.numpy()), abs=1e-9)
    assert measured_ccc["mean"] == pytest.approx((measured_ccc["valence"] + measured_ccc["arousal"]) / 2)


@quick
@given(st.integers(0, 2**31), st.integers(30, 400))
def test_it_equals_torchmetrics_where_conventions_agree(seed, num):
    """torchmetrics divides moments by n - 1, which cancels exactly when the two means are equal."""
    values, target, _ = rows(seed, num)
    values, target = values.double(), target.double()
    values = values - values.mean(0) + target.mean(0)
    measured_ccc = measured(values, target, torch.ones(num, dtype=torch.bool))
    theirs = torchmetrics.functional.concordance_corrcoef(values, target).tolist()
    assert [measured_ccc["valence"], measured_ccc["arousal"]] == pytest.approx(theirs, abs=1e-6)


def test_states_add_up():
    a, b, both = ConcordanceMeter(), ConcordanceMeter(), ConcordanceMeter()
    a.update(*rows(0, 50))
    b.update(*rows(1, 20))
    both.update(*rows(0, 50))
    both.update(*rows(1, 20))
    assert ConcordanceMeter.from_state(a.state() + b.state()).compute() == pytest.approx(both.compute())


def test_sequences_are_taken_as_rows():
    values, target, ok = rows(0, 60)
    shaped = values.view(5, 12, 2), target.view(5, 12, 2), ok.view(5, 12)
    assert measured(*shaped) == pytest.approx(measured(values, target, ok))


def test_a_far_offset_costs_no_accuracy():
    values, target, ok = (tensor.double() if tensor.is_floating_point() else tensor for tensor in rows(0, 500))
    assert measured(values + 1000, target + 1000, ok)["mean"] == pytest.approx(
        measured(values, target, ok)["mean"], abs=1e-6
    )


@pytest.mark.parametrize("constant", [0.0, 0.1, -0.7])
def test_a_constant_prediction_or_label_scores_zero(constant):
    values, target, ok = rows(0, 1000)
    flat = torch.full_like(values, constant)
    for parts in [(flat, target, ok), (values, flat, ok), (flat, flat, ok)]:
        assert measured(*parts) == {"valence": 0.0, "arousal": 0.0, "mean": 0.0}


def test_fewer_than_two_valid_rows_are_undefined():
    values, target, _ = rows(0, 4)
    for num_valid in (0, 1):
        ok = torch.arange(4) < num_valid
        assert measured(values, target, ok) == {"valence": None, "arousal": None, "mean": None}
    assert ConcordanceMeter().compute()["mean"] is None


def test_what_invalid_rows_hold_does_not_matter_and_nan_in_valid_ones_is_an_error():
    values, target, ok = rows(0, 40)
    corrupted = torch.where(ok[:, None], target, torch.nan)
    assert measured(values, corrupted, ok) == pytest.approx(measured(values, target, ok))
    with pytest.raises(ValueError, match=f"{int((~ok).sum())} of 40 valid rows hold NaN or infinity"):
        measured(values, corrupted, torch.ones_like(ok))


@quick
@given(st.integers(0, 2**31), st.integers(2, 40))
def test_loss_is_two_minus_both_ccc(seed, num):
    values, target, ok = rows(seed, num)
    ok[:2] = True
    measured_ccc, ccc = concordance_loss(values, target, ok), measured(values, target, ok)
    assert measured_ccc.item() == pytest.approx(2 - ccc["valence"] - ccc["arousal"], abs=1e-9)


def test_gradient_of_the_loss_is_right():
    values, target, ok = rows(0, 12)
    assert torch.autograd.gradcheck(lambda x: concordance_loss(x, target, ok), values.double().requires_grad_())


@pytest.mark.parametrize("num_valid", [0, 1])
def test_too_few_valid_steps_give_a_zero_loss_that_still_has_a_gradient(num_valid):
    values, target, _ = rows(0, 6)
    values[3] = torch.nan
    values.requires_grad_()
    loss = concordance_loss(values, target, torch.arange(6) < num_valid)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(values.grad, torch.zeros_like(values))


def test_constant_predictions_have_a_finite_gradient():
    _, target, ok = rows(0, 20)
    for flat in (torch.zeros_like(target), target[:1].expand_as(target).clone()):
        flat.requires_grad_()
        concordance_loss(flat, target, ok).backward()
        assert flat.grad.isfinite().all()


@pytest.mark.parametrize("sizes", [(30, 30), (1, 44), (0, 17), (5, 40, 3)])
def test_ranks_with_reduced_sums_share_the_loss_and_split_its_gradient(sizes):
    """The all-reduce recipe of the docstring, with the ranks one after the other in this process."""
    values, target, ok = rows(3, sum(sizes))
    ok[:] = True
    whole = values.clone().requires_grad_()
    expected = concordance_loss(whole, target, ok)
    expected.backward()
    parts = list(zip(*(tensor.split(sizes) for tensor in (values, target, ok)), strict=True))
    total = sum(moment_sums(*part) for part in parts)
    gradients = []
    for x, y, part_ok in parts:
        local = x.clone().requires_grad_()
        loss = concordance_loss(local, y, part_ok, reduce=lambda sums: sums + (total - sums.detach()))
        assert loss.item() == pytest.approx(expected.item(), abs=1e-9)
        loss.backward()
        gradients.append(local.grad)
    torch.testing.assert_close(torch.cat(gradients), whole.grad)


def test_perfect_agreement_is_one_and_reversal_minus_one():
    target = torch.from_numpy(np.linspace(-1, 1, 101)).float()[:, None].expand(-1, 2)
    ok = torch.ones(101, dtype=torch.bool)
    assert measured(target, target, ok)["mean"] == pytest.approx(1, abs=1e-12)
    assert measured(-target, target, ok)["mean"] == pytest.approx(-1, abs=1e-12)
