"""Heat maps of a real model's explanation: what is drawn is what the model predicted."""

import io

import numpy as np
import pytest
import torch

from iaca_model.config import FusionConfig, ModelConfig
from iaca_model.model import FeatureModel, Prediction
from pipeline.evaluation.explanations import gate_rows, heat_map

STEPS, DIM = 6, 8


def predict(base: str, gate: str, *, front: str = "none", gradients: bool = False) -> Prediction:
    torch.manual_seed(0)
    fusion = FusionConfig(DIM, DIM, STEPS, front=front, base=base, gate=gate, gate_init="xavier")
    model = FeatureModel(fusion, ModelConfig(feature_dim=DIM, base=base, gate=gate)).eval()
    ok = torch.ones(2, STEPS, dtype=torch.bool)
    ok[0, -1] = False
    with torch.set_grad_enabled(gradients):
        return model(torch.randn(2, STEPS, DIM), torch.randn(2, STEPS, DIM), ok, ok)


@pytest.mark.parametrize(
    ("base", "gate"),
    [("ca", "none"), ("tca", "iaca"), ("jca", "hgrjca"), ("jca", "dca"), ("jca_paper", "grjca"), ("ca", "tagf")],
)
def test_every_explanation_can_be_drawn(base, gate):
    figure = heat_map(predict(base, gate), 0, times_s=np.arange(STEPS) * 1.28)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_a_prediction_made_with_gradients_gives_the_same_picture():
    images = [
        [image.get_array() for axis in heat_map(predict("tca", "iaca", gradients=on), 0).axes for image in axis.images]
        for on in (False, True)
    ]
    assert len(images[0]) >= 3
    for without, with_gradients in zip(*images, strict=True):
        assert np.ma.allequal(without, with_gradients)


def test_the_pictures_hold_the_weights_and_leave_missing_steps_empty():
    prediction = predict("tca", "iaca")
    gates, video, audio = (axis for axis in heat_map(prediction, 0).axes if axis.get_title() or axis.get_title("left"))
    names = [label.get_text() for label in gates.get_yticklabels()]
    assert names[:2] == ["modality: video", "modality: audio"]
    assert "audio: cross" in names
    drawn = np.ma.filled(gates.images[0].get_array().astype(float), np.nan)
    assert drawn[0, :-1] == pytest.approx(prediction.gates["modality"][0, :-1, 0].numpy())
    assert np.isnan(drawn[:, -1]).all()
    for axis, name in ((video, "video"), (audio, "audio")):
        assert axis.get_title() == f"attention of {name}"
        shown = np.ma.filled(axis.images[0].get_array().astype(float), np.nan)
        assert shown[:-1, :-1] == pytest.approx(prediction.attention[name][0, :-1, :-1].numpy())
        assert np.isnan(shown[-1]).all()
        assert np.isnan(shown[:, -1]).all()


def test_the_reliability_of_the_front_is_above_the_gates():
    prediction = predict("jca", "iaca", front="reliability")
    names, weights = gate_rows(prediction, 1)
    assert names[:4] == ["reliability: video", "reliability: audio", "modality: video", "modality: audio"]
    assert weights[0] == pytest.approx(prediction.gates["reliability"][1, :, 0].numpy())
    gates = heat_map(prediction, 1).axes[0]
    assert gates.get_title("left") == "reliability, judged before attention; gates"
    alone = heat_map(predict("concat", "none", front="reliability"), 1).axes[0]
    assert alone.get_title("left") == "reliability, judged before attention"
    assert heat_map(predict("jca", "iaca"), 1).axes[0].get_title("left") == "gates"


def test_the_last_of_the_gates_of_hgrjca_chooses_between_results_not_between_own_and_cross():
    names, _ = gate_rows(predict("jca", "hgrjca"), 1)
    assert {"video: 0", "video: 1", "video_first: 0", "video_second: 2"} < set(names)
    assert "video: own" not in names


@pytest.mark.parametrize("gate", ["grjca", "tagf"])
def test_gates_with_more_options_are_numbered(gate):
    names, weights = gate_rows(predict("jca", gate), 1)
    assert names[:3] == ["audio: 0", "audio: 1", "audio: 2"] or names[:3] == ["video: 0", "video: 1", "video: 2"]
    assert weights[:3].sum(0) == pytest.approx(np.ones(STEPS), abs=1e-5)


def test_nothing_to_show_and_wrong_times_are_errors():
    with pytest.raises(ValueError, match="base concat explains nothing"):
        heat_map(predict("concat", "none"), 0)
    with pytest.raises(ValueError, match="there are 3 times for 6 steps"):
        heat_map(predict("ca", "none"), 0, times_s=[0, 1, 2])
