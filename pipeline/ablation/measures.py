"""What a trained variant is measured by: concordance, how well its gate detects corruption, and missing sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from iaca_model.metrics import ConcordanceMeter
from iaca_model.model import Prediction
from pipeline.ablation.feature_sequences import HEALTHY, KINDS, Sequences

PERCENTS = (0, 10, 20, 30, 50, 70, 90, 100)
PATTERNS = ("random", "block")
MASKS = ("unknown", "known")
HIDING_SEED = 3_000_003

Predict = Callable[[Sequences, Tensor | None], Prediction]


def ccc(found: Prediction, sequences: Sequences) -> dict[str, float | None]:
    """CCC of valence, arousal and their mean over every labelled step; predictions clipped to [-1, 1]."""
    meter = ConcordanceMeter()
    meter.update(found.values_BL2.clamp(-1, 1), sequences.target_NL2, found.valid_BL & sequences.labelled_NL)
    return meter.compute()


def detection(gates: Mapping[str, Tensor], kind_NL2: Tensor) -> dict[str, float | None] | None:
    """How well the modality gate finds the corrupted modality where exactly one is; None without that gate.

    AUROC of the video's weight against "the sound is corrupted", per kind of corruption and over `all`; `gap`: mean
    weight of the healthy minus that of the corrupted modality, because AUROC does not see how far a gate moves.
    """
    if "modality" not in gates:
        return None
    corrupted_NL2 = kind_NL2 != HEALTHY
    one_NL = corrupted_NL2.sum(-1) == 1
    weights_M2, corrupted_M2 = gates["modality"][one_NL], corrupted_NL2[one_NL]
    kind_M = kind_NL2[one_NL].amin(-1)  # HEALTHY is the largest
    found = {name: auroc(weights_M2[kind_M == i, 0], corrupted_M2[kind_M == i, 1]) for i, name in enumerate(KINDS)}
    signs_M2 = 1 - 2 * corrupted_M2.float()
    gap = (weights_M2 * signs_M2).sum(-1).mean().item() if len(weights_M2) else None
    return {**found, "all": auroc(weights_M2[:, 0], corrupted_M2[:, 1]), "gap": gap}


def auroc(scores_M: Tensor, positive_M: Tensor) -> float | None:
    """The chance that a positive scores above a negative, ties counting half; None where either is missing."""
    num_positive = int(positive_M.sum())
    num_negative = len(positive_M) - num_positive
    if not (num_positive and num_negative):
        return None
    _, place_M, count = torch.unique(scores_M, return_inverse=True, return_counts=True)
    rank_M = (count.cumsum(0).double() - (count - 1) / 2)[place_M]
    above = rank_M[positive_M].sum() - num_positive * (num_positive + 1) / 2
    return float(above / (num_positive * num_negative))


def missing_audio(predict: Predict, clean: Sequences, seed: int) -> list[dict[str, Any]]:
    """CCC on healthy sequences whose sound is replaced by zeros at a share of the steps, at test time only.

    A row per percentage, pattern (`random` steps, or one `block` per sequence, which goes on at its beginning where it
    meets its end) and mask (`unknown` to the model, or `known`); every variant meets the same holes on the same seed.
    Measured are steps that have a picture, so that there is a prediction without sound too.
    """
    clean, rows = replace(clean, labelled_NL=clean.labelled_NL & clean.ok_NL2[..., 0]), []
    for pattern in PATTERNS:
        order_NL = _order(clean, pattern, torch.Generator().manual_seed(HIDING_SEED + seed))
        for percent in PERCENTS:
            ok_NL = order_NL >= round(percent / 100 * order_NL.shape[1])
            hidden = replace(clean, audio_NLD=clean.audio_NLD * ok_NL[..., None])
            for mask in MASKS:
                values = ccc(predict(hidden, ok_NL if mask == "known" else None), clean)
                rows.append({"percent": percent, "pattern": pattern, "mask": mask, **values})
    return rows


def _order(clean: Sequences, pattern: str, generator: torch.Generator) -> Tensor:
    """(N, L): the rank in which each step loses its sound."""
    num, num_steps, _ = clean.target_NL2.shape
    if pattern == "random":
        return torch.rand(num, num_steps, generator=generator).argsort(1).argsort(1)
    first_N1 = torch.randint(num_steps, (num, 1), generator=generator)
    return (torch.arange(num_steps) - first_N1) % num_steps
