"""The measures of a trained variant beside `iaca_model.detection`: concordance, and its curve over missing sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from iaca_model.corruption import MISSING
from iaca_model.metrics import ConcordanceMeter
from iaca_model.model import Prediction
from pipeline.ablation.feature_sequences import TrialSequences

PERCENTS = (0, 10, 20, 30, 50, 70, 90, 100)
PATTERNS = ("random", "block")
MASKS = ("unknown", "known")
MISSING_AUDIO_SEED = 3_000_003  # added to the seed of the trial

Predict = Callable[[TrialSequences, Tensor | None], Prediction]
"""From sequences and a bool mask (N, L) of steps with sound (None: as in the sequences) to their prediction."""


def ccc(prediction: Prediction, sequences: TrialSequences) -> dict[str, float | None]:
    """Measure CCC of valence, arousal and their mean over every labelled step; predictions are clipped to [-1, 1]."""
    meter = ConcordanceMeter()
    valid_NL = prediction.valid_BL & sequences.labelled_NL
    meter.update(prediction.values_BL2.clamp(-1, 1), sequences.target_NL2, valid_NL)
    return meter.compute()


def missing_audio(predict: Predict, clean: TrialSequences, seed: int) -> list[dict[str, Any]]:
    """Measure CCC on healthy sequences whose sound is replaced by zeros at a share of the steps, at test time only.

    Steps that have a picture are measured, so that there is a prediction without sound, too. Every variant loses the
    sound of the same steps on the same seed.

    Returns:
        a row for each percentage, pattern (`random` steps, or one `block` per sequence, which wraps around the end) and
        mask (`unknown` to the model, or `known`).
    """
    clean = replace(clean, labelled_NL=clean.labelled_NL & clean.ok_NL2[..., 0])
    rows = []
    for pattern in PATTERNS:
        rank_NL = _rank_of_loss(clean, pattern, torch.Generator().manual_seed(MISSING_AUDIO_SEED + seed))
        for percent in PERCENTS:
            ok_NL = rank_NL >= round(percent / 100 * rank_NL.shape[1])
            without_sound = _lose_sound(clean, ok_NL)
            for mask in MASKS:
                values = ccc(predict(without_sound, ok_NL if mask == "known" else None), clean)
                rows.append({"percent": percent, "pattern": pattern, "mask": mask, **values})
    return rows


def _lose_sound(clean: TrialSequences, ok_NL: Tensor) -> TrialSequences:
    """Replace the sound by zeros where `ok_NL` is False; `kind_NL2` says so, which only an oracle reads."""
    video_kind_NL, audio_kind_NL = clean.kind_NL2.unbind(-1)
    kind_NL2 = torch.stack([video_kind_NL, torch.where(ok_NL, audio_kind_NL, MISSING)], dim=-1)
    return replace(clean, audio_NLD=clean.audio_NLD * ok_NL[..., None], kind_NL2=kind_NL2)


def _rank_of_loss(clean: TrialSequences, pattern: str, generator: torch.Generator) -> Tensor:
    """(N, L): the rank, from 0, in which each step of a sequence loses its sound as the share grows."""
    num, num_steps, _ = clean.target_NL2.shape
    if pattern == "random":
        return torch.rand(num, num_steps, generator=generator).argsort(1).argsort(1)
    first_N1 = torch.randint(num_steps, (num, 1), generator=generator)
    return (torch.arange(num_steps) - first_N1) % num_steps
