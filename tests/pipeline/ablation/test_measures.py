"""Concordance and missing sound, on models whose answer is known."""

import itertools

import pytest
import torch

from iaca_model.model import Prediction
from pipeline.ablation.benchmark import World
from pipeline.ablation.measures import MASKS, PATTERNS, PERCENTS, ccc, missing_audio


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
