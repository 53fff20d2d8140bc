"""Concordance and missing sound, on models whose answer is known."""

import itertools

import pytest
import torch

from iaca_model.corruption import HEALTHY, MISSING
from iaca_model.model import Prediction
from pipeline.ablation.benchmark import World
from pipeline.ablation.measures import MASKS, PATTERNS, PERCENTS, ccc, missing_audio
from pipeline.ablation.trial import Trial, TrialModel
from pipeline.ablation.variants import list_variants
from pipeline.config.job_sections import AblateConfig


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


def test_a_step_without_sound_is_known_as_missing_to_an_oracle_and_in_nothing_else():
    clean, num_silent = World(0, 16, 8).draw(5), []

    def predict(sequences, _audio_ok_NL):
        silent_NL = sequences.audio_NLD.abs().sum(-1) == 0
        assert torch.equal(sequences.kind_NL2[..., 1] == MISSING, silent_NL)
        assert (sequences.kind_NL2[..., 1][~silent_NL] == HEALTHY).all()
        assert (sequences.kind_NL2[..., 0] == HEALTHY).all()
        num_silent.append(int(silent_NL.sum()))
        return Prediction(sequences.target_NL2, torch.ones_like(silent_NL), {}, {})

    missing_audio(predict, clean, seed=0)
    assert {0, 5 * 16} < set(num_silent)
    assert (clean.kind_NL2 == HEALTHY).all()


def test_an_encoder_gives_the_oracle_nothing_of_lost_sound():
    """What an encoder makes of zeros, its bias, has no influence on an oracle where the sound is lost."""
    settings = AblateConfig(num_steps=8, feature_dim=8, encoder="mlp")
    variants = {row.name: row for row in list_variants(settings)}
    torch.manual_seed(0)
    model = TrialModel(Trial(variants["ca+oracle"], 0, settings))
    clean = World(0, 8, 8).draw(20)
    without_sound, biased = [], []
    for curve in (without_sound, biased):
        points = missing_audio(model.predict, clean, seed=0)
        curve += [point["mean"] for point in points if point["percent"] == 100 and point["mask"] == "unknown"]
        torch.nn.init.constant_(model.audio[-1].bias, 3.0)
    assert without_sound == biased


def test_ccc_clips():
    sequences = World(0, 16, 8).draw(20)
    far = Prediction(sequences.target_NL2.sign() * 7, torch.ones(20, 16, dtype=torch.bool), {}, {})
    near = far._replace(values_BL2=sequences.target_NL2.sign())
    assert ccc(far, sequences) == ccc(near, sequences)
