"""The measures of a trained variant: concordance, how well its gate detects corruption, and missing sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from iaca_model.corruption import HEALTHY, KINDS
from iaca_model.metrics import ConcordanceMeter
from iaca_model.model import Prediction
from pipeline.ablation.feature_sequences import TrialSequences

PERCENTS = (0, 10, 20, 30, 50, 70, 90, 100)
PATTERNS = ("random", "block")
MASKS = ("unknown", "known")
VERDICTS = ("reliability", "modality")  # gates between the modalities: of the front, and stage 2 of IACA
MISSING_AUDIO_SEED = 3_000_003  # added to the seed of the trial

Predict = Callable[[TrialSequences, Tensor | None], Prediction]
"""From sequences and a bool mask (N, L) of steps with sound (None: as in the sequences) to their prediction."""


def ccc(prediction: Prediction, sequences: TrialSequences) -> dict[str, float | None]:
    """Measure CCC of valence, arousal and their mean over every labelled step; predictions are clipped to [-1, 1]."""
    meter = ConcordanceMeter()
    valid_NL = prediction.valid_BL & sequences.labelled_NL
    meter.update(prediction.values_BL2.clamp(-1, 1), sequences.target_NL2, valid_NL)
    return meter.compute()


def detection(weights_NL2: Tensor, kind_NL2: Tensor) -> dict[str, float | None]:
    """Measure how well a verdict detects the corrupted modality, at steps where exactly one is corrupted.

    Args:
        weights_NL2: the weights of video and audio.
        kind_NL2: the corruption, index into KINDS or HEALTHY.

    Returns:
        AUROC of the video's weight against "the sound is corrupted", for each kind of corruption and over `all`, and
        `gap`, the mean weight of the healthy minus that of the corrupted modality, because AUROC does not depend on
        how far a gate moves. None where it is not defined.
    """
    corrupted_NL2 = kind_NL2 != HEALTHY
    exactly_one_NL = corrupted_NL2.sum(-1) == 1
    weights_M2, corrupted_M2 = weights_NL2[exactly_one_NL], corrupted_NL2[exactly_one_NL]
    kind_M = kind_NL2[exactly_one_NL].amin(-1)  # HEALTHY is the largest
    by_kind = {name: auroc(weights_M2[kind_M == i, 0], corrupted_M2[kind_M == i, 1]) for i, name in enumerate(KINDS)}
    signs_M2 = 1 - 2 * corrupted_M2.float()
    gap = (weights_M2 * signs_M2).sum(-1).mean().item() if len(weights_M2) else None
    return {**by_kind, "all": auroc(weights_M2[:, 0], corrupted_M2[:, 1]), "gap": gap}


def auroc(scores_M: Tensor, positive_M: Tensor) -> float | None:
    """Chance that a positive scores above a negative, ties counting half; None where there are none of either."""
    num_positive = int(positive_M.sum())
    num_negative = len(positive_M) - num_positive
    if not (num_positive and num_negative):
        return None
    _, index_M, count = torch.unique(scores_M, return_inverse=True, return_counts=True)
    rank_M = (count.cumsum(0).double() - (count - 1) / 2)[index_M]
    num_pairs_above = rank_M[positive_M].sum() - num_positive * (num_positive + 1) / 2
    return float(num_pairs_above / (num_positive * num_negative))


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
            without_sound = replace(clean, audio_NLD=clean.audio_NLD * ok_NL[..., None])
            for mask in MASKS:
                values = ccc(predict(without_sound, ok_NL if mask == "known" else None), clean)
                rows.append({"percent": percent, "pattern": pattern, "mask": mask, **values})
    return rows


def _rank_of_loss(clean: TrialSequences, pattern: str, generator: torch.Generator) -> Tensor:
    """(N, L): the rank, from 0, in which each step of a sequence loses its sound as the share grows."""
    num, num_steps, _ = clean.target_NL2.shape
    if pattern == "random":
        return torch.rand(num, num_steps, generator=generator).argsort(1).argsort(1)
    first_N1 = torch.randint(num_steps, (num, 1), generator=generator)
    return (torch.arange(num_steps) - first_N1) % num_steps
