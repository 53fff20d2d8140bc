"""Normalisation of crops and spectrograms, shared by all backbones.

Shape letters as in `iaca_model.config`.
"""

from __future__ import annotations

from torch import Tensor

# RGB in [0, 1], as the video networks pretrained on Kinetics (r3d, r(2+1)d) expect.
CROP_MEAN = (0.43216, 0.394666, 0.37645)
CROP_STD = (0.22803, 0.22145, 0.216989)
TOP_DB = 80.0
MEL_SHIFT_DB = 14.8
MEL_SCALE_DB = 19.895


def normalise_mel(mel_BLSM: Tensor) -> Tensor:
    """Clip the log-mel of each sub-clip at 80 dB below its own maximum, then map x dB to (x + 14.8) / 19.895.

    Exact: the papers' released code.
    """
    floor_BL11 = mel_BLSM.amax(dim=(-2, -1), keepdim=True) - TOP_DB
    return (mel_BLSM.maximum(floor_BL11) + MEL_SHIFT_DB) / MEL_SCALE_DB
