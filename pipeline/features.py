"""What a dataset of features holds instead of crops and sound, and what it was made with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SegmentFeatures:
    """What the backbones give for the sub-clips of a tile: row i is of the one that ends at its own frame i.

    Both modalities have as many rows as the tile has own frames; a row is 0 where its sub-clip is not to be used.
    """

    video_ND: NDArray[np.float16]
    audio_ND: NDArray[np.float16]
    ok_N2: NDArray[np.bool_]  # video, audio: by the rules of `pipeline.training.views`
