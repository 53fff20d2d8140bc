"""Features of a segment: what the backbones give for each sub-clip, once for every frame."""

import dataclasses

import numpy as np
import pytest
import torch

from iaca_model.config import FeatureSpec
from iaca_model.model import PrecomputedModel, model_of
from pipeline.config import UsageError
from pipeline.config.job_sections import WeightsConfig
from pipeline.dataset.format.samples import SampleError
from pipeline.evaluation.inference import predict_segment
from pipeline.training import sequences
from pipeline.training.backbone_features import extract_features, require_published_weights
from tests.support.fake_dataset import make_segment
from tests.support.fake_run import small_config

CONFIG = small_config()
VIEW, SPEC, DIM = CONFIG.sequence, CONFIG.input_spec, CONFIG.model.feature_dim
FEATURES = FeatureSpec(VIEW.num_subclips, DIM, DIM)
GAPS = {"no_face": range(10, 19), "no_sound": range(20, 35)}


@pytest.fixture
def model():
    torch.manual_seed(1)
    return model_of(SPEC, CONFIG.model).eval()


@pytest.mark.parametrize("num_frames", [32, 21, 3])
@pytest.mark.parametrize("masked_modality", ["none", "video", "audio"])
def test_features_give_the_predictions_that_crops_and_sound_give(model, num_frames, masked_modality):
    segment = make_segment(num_frames=num_frames, **GAPS) if num_frames > 30 else make_segment(num_frames=num_frames)
    headless = PrecomputedModel(FEATURES, CONFIG.model).eval()
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("features.")}
    headless.load_state_dict(own)
    whole = predict_segment(model, segment, VIEW, SPEC, masked_modality)
    precomputed = predict_segment(
        headless, extract_features(model, segment, VIEW, SPEC), VIEW, FEATURES, masked_modality
    )
    assert np.array_equal(precomputed.valid, whole.valid)
    assert precomputed.values == pytest.approx(whole.values, abs=2e-3)  # float16 keeps eleven bits
    assert np.abs(whole.values).max() > 0.02
    assert precomputed.gates.keys() == whole.gates.keys()


def test_masks_are_those_of_the_sub_clips(model):
    segment = make_segment(**GAPS)
    found = extract_features(model, segment, VIEW, SPEC).features
    clips = sequences.cut(segment, tuple(range(VIEW.subclip_stride)), VIEW, SPEC)
    own = sequences.end_frames(tuple(range(VIEW.subclip_stride)), VIEW)
    assert np.array_equal(found.ok_N2[own, 0], clips.video_ok_BL)
    assert np.array_equal(found.ok_N2[own, 1], clips.audio_ok_BL)
    assert not found.ok_N2.all(axis=0).any(), "the gaps must show"
    assert not found.video_ND[~found.ok_N2[:, 0]].any()
    assert not found.audio_ND[~found.ok_N2[:, 1]].any()


def test_the_rest_of_a_sample_stays_as_it_was(model):
    segment = make_segment()
    found = extract_features(model, segment, VIEW, SPEC)
    changed = {f.name for f in dataclasses.fields(segment) if getattr(found, f.name) is not getattr(segment, f.name)}
    assert changed == {"faces_mjpeg", "mel_db", "features"}


def test_a_modality_without_a_backbone_is_missing(model):
    torch.manual_seed(1)
    video_only = model_of(SPEC, dataclasses.replace(CONFIG.model, modalities="video")).eval()
    found = extract_features(video_only, make_segment(), VIEW, SPEC).features
    assert found.ok_N2.all(axis=0).tolist() == [True, False]
    assert not found.audio_ND.any()


def test_features_that_float16_cannot_hold_are_refused(model):
    with torch.no_grad():
        list(model.video_backbone.parameters())[-1].fill_(1e5)
    with pytest.raises(FloatingPointError, match="talker_000000000: video features"):
        extract_features(model, make_segment(), VIEW, SPEC)


def test_the_loaders_view_refuses_features_of_another_width(model):
    found = extract_features(model, make_segment(), VIEW, SPEC)
    with pytest.raises(SampleError, match=r"holds \(8, 8\) features, the model takes 8 video and 9 audio"):
        sequences.cut(found, (0,), VIEW, dataclasses.replace(FEATURES, audio_dim=9))
    with pytest.raises(SampleError, match="holds no features"):
        sequences.cut(make_segment(), (0,), VIEW, FEATURES)


@pytest.mark.parametrize(
    ("model", "weights", "why"),
    [
        ({}, {}, "model.backbone is tiny"),
        ({"backbone": "residual", "feature_dim": 512}, {}, r"weights\.video is empty"),
        ({"backbone": "residual", "feature_dim": 512}, {"video": "v.pth"}, r"weights\.audio is empty"),
        ({"backbone": "residual"}, {"video": "v.pth", "audio": "a.pth"}, "set it to 512"),
    ],
)
def test_without_a_run_the_configuration_must_name_published_weights(model, weights, why):
    changed = dataclasses.replace(CONFIG.model, **model)
    with pytest.raises(UsageError, match=why):
        require_published_weights(
            small_config().model_copy(update={"model": changed, "weights": WeightsConfig(**weights)})
        )


def test_a_model_of_features_checks_widths_and_masks_what_it_leaves_out(model):
    batch = sequences.cut(extract_features(model, make_segment(), VIEW, SPEC), (0, 1), VIEW, FEATURES)
    with pytest.raises(ValueError, match=r"video features \(4, 8\) .* was made for \(4, 9\) and \(4, 8\)"):
        PrecomputedModel(dataclasses.replace(FEATURES, video_dim=9), CONFIG.model)(batch)
    video_only = PrecomputedModel(FEATURES, dataclasses.replace(CONFIG.model, modalities="video")).eval()
    noisy = dataclasses.replace(batch, audio_BLD=batch.audio_BLD + 1)
    assert torch.equal(video_only(noisy).values_BL2, video_only(batch).values_BL2)
    whole = PrecomputedModel(FEATURES, CONFIG.model).eval()
    assert not torch.equal(whole(noisy).values_BL2, whole(batch).values_BL2)
