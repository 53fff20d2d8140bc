"""The numbers of an evaluation on corrupted clips: what was corrupted, and how well the model's verdicts detect it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from iaca_model.corruption import KINDS
from iaca_model.detection import VERDICTS, detection
from pipeline.evaluation.alignment import Columns
from pipeline.evaluation.segment_corruption import kind_indices

_MODALITIES = ("video", "audio")


def measure_corruption(columns: Columns) -> dict[str, Any]:
    """The further keys of metrics.json of an evaluation on corrupted clips; none where nothing was to be corrupted.

    Args:
        columns: of predictions.parquet.

    Returns:
        `corruption`: for `video` and `audio` the share of the scored frames that are missing, noisy, swapped, and of
            `all` three
        `detection`: for each verdict that the model has, `reliability` of the front and `modality` of IACA, what
            `iaca_model.detection.detection` measures over the scored frames
    """
    if "video_corruption" not in columns:
        return {}
    return {
        "corruption": {modality: _shares(columns[f"{modality}_corruption"]) for modality in _MODALITIES},
        "detection": {
            name: detection(_both(columns, f"gate_{name}_{{}}"), _kinds(columns))
            for name in VERDICTS
            if f"gate_{name}_video" in columns
        },
    }


def _shares(names: np.ndarray) -> dict[str, float]:
    shares = {kind: float((names == kind).mean()) if len(names) else 0.0 for kind in KINDS}
    return {**shares, "all": float((names != "").mean()) if len(names) else 0.0}


def _both(columns: Columns, column: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([columns[column.format(modality)] for modality in _MODALITIES], -1))


def _kinds(columns: Columns) -> torch.Tensor:
    return torch.stack([kind_indices(columns[f"{modality}_corruption"]) for modality in _MODALITIES], -1)
