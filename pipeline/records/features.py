"""The features of a segment, which a dataset of features holds instead of crops and sound, and their origin."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SegmentFeatures:
    """The backbones' features of the sub-clips of a tile: row i is of the sub-clip that ends at its own frame i.

    Both modalities have as many rows as the tile has own frames; a row is 0 where its sub-clip is not to be used.
    """

    video_ND: NDArray[np.float16]
    audio_ND: NDArray[np.float16]
    ok_N2: NDArray[np.bool_]  # video, audio: by the rules of `pipeline.training.sequences`


@dataclass(frozen=True, slots=True)
class FeatureOrigin:
    """What a dataset of features was made of, as `dataset.json` lists it.

    Two origins that differ in anything but the names, which are for people, give different features.
    """

    parent: str  # name of the dataset whose crops and sound went through the backbones
    parent_digest: str
    run: str  # name of the run whose best checkpoint they are of; "": published weights
    run_weights_sha256: str  # "" without a run
    video_weights_sha256: str  # of published weights; "" with a run
    audio_weights_sha256: str
    backbone: str  # iaca_model.config.Backbone
    modalities: str  # "both", "video" or "audio"; one without a backbone is missing everywhere
    subclip_frames: int
    subclip_dilation: int
    video_dim: int  # D_v
    audio_dim: int  # D_a

    @property
    def backbones(self) -> FeatureOrigin:
        """The origin without the parent dataset: datasets for which this is equal serve the same model."""
        return replace(self, parent="", parent_digest="", run="")
