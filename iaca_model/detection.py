"""How well a verdict on the modalities detects the corrupted one: AUROC by the kind of corruption, and the weight gap.

Shape letters: any leading axes, then 2 for video and audio; M selected steps.
"""

from __future__ import annotations

from torch import Tensor, unique

from iaca_model.corruption import HEALTHY, KINDS

VERDICTS = ("reliability", "modality")  # gates between the modalities: of the front, and stage 2 of IACA


def detection(weights_2: Tensor, kind_2: Tensor) -> dict[str, float | None]:
    """Measure how well a verdict detects the corrupted modality, at steps where exactly one is corrupted.

    Args:
        weights_2: (..., 2), the weights of video and audio.
        kind_2: (..., 2), the corruption, index into KINDS or HEALTHY.

    Returns:
        AUROC of the video's weight against "the sound is corrupted", for each kind of corruption and over `all`, and
        `gap`, the mean weight of the healthy minus that of the corrupted modality, because AUROC does not depend on
        how far a gate moves. None where it is not defined.
    """
    corrupted_2 = kind_2 != HEALTHY
    exactly_one = corrupted_2.sum(-1) == 1
    weights_M2, corrupted_M2 = weights_2[exactly_one], corrupted_2[exactly_one]
    kind_M = kind_2[exactly_one].amin(-1)  # HEALTHY is the largest
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
    _, index_M, count = unique(scores_M, return_inverse=True, return_counts=True)
    rank_M = (count.cumsum(0).double() - (count - 1) / 2)[index_M]
    num_pairs_above = rank_M[positive_M].sum() - num_positive * (num_positive + 1) / 2
    return float(num_pairs_above / (num_positive * num_negative))
