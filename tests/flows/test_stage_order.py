"""What the stages of a command are asked for."""

import pytest

from flows.stage_order import with_masked
from pipeline.config import Config


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_the_demo_masks_a_modality_of_healthy_clips_whatever_is_corrupted_beside(modality):
    config = with_masked(Config.model_validate({"evaluate": {"corrupt_modality": 0.3, "smooth": "fixed"}}), modality)
    assert (config.evaluate.masked_modality, config.evaluate.corrupt_modality) == (modality, 0.0)
    assert config.evaluate.smooth == "fixed"
