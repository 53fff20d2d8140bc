import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from iaca_model.model import EmotionModel, Prediction
from pipeline.evaluation.alignment import align_streams, align_to_annotations
from pipeline.evaluation.inference import predict_segment, predict_streams
from pipeline.evaluation.predictions import ClockPredictions, StreamPredictions, with_invalid_filled
from pipeline.records import ANNOTATION_DTYPE
from tests.support.fake_dataset import make_segment, write_shard
from tests.support.fake_run import small_config

CONFIG = small_config()
VIEW, SPEC = CONFIG.sequence, CONFIG.input_spec


class FakeModel(nn.Module):
    """Predicts how bright the last crop of each step is and how loud its last hop, so that a wrong index shows."""

    def forward(self, batch):
        valence = (batch.frames_BLTHWC[:, :, -1].float().mean((-1, -2, -3)) - 128) / 100
        arousal = (batch.mel_BLSM[:, :, -1].mean(-1) + 40) / 30
        values = torch.stack([valence * batch.video_ok_BL, arousal * batch.audio_ok_BL], -1)
        ok = torch.stack([batch.video_ok_BL, batch.audio_ok_BL], -1).float()
        return Prediction(values, batch.video_ok_BL | batch.audio_ok_BL, {"modality": ok, "video": ok.flip(-1)}, {})


def clock_of(segment, masked_modality="none"):
    return predict_segment(FakeModel(), segment, VIEW, SPEC, masked_modality)


@pytest.mark.parametrize("num_frames", [32, 11, 3])
def test_each_frame_gets_the_prediction_of_the_subclip_that_ends_at_it(num_frames):
    segment = make_segment(num_frames=num_frames)
    clock = clock_of(segment)
    assert np.allclose(clock.times_s, segment.frames["time_s"][7:])
    assert np.abs(clock.values[:, 0] - segment.labels[7:, 0]).max() < 0.02
    assert np.abs(clock.values[:, 1] - segment.labels[7:, 1]).max() < 0.1
    assert clock.valid.all()


def test_gates_become_named_columns():
    gates = clock_of(make_segment()).gates
    assert set(gates) == {"modality_video", "modality_audio", "video_own", "video_cross"}
    assert (gates["modality_video"] == 1).all()


def test_the_verdict_of_the_front_becomes_two_columns_of_predictions():
    class FakeFront(FakeModel):
        def forward(self, batch):
            prediction = super().forward(batch)
            ok_BL2 = prediction.gates["modality"]
            return prediction._replace(gates={"reliability": (ok_BL2 + 1) / (ok_BL2 + 1).sum(-1, keepdim=True)})

    segment = make_segment(no_sound=range(25, 39))
    clock = predict_segment(FakeFront(), segment, VIEW, SPEC)
    columns = align_to_annotations(StreamPredictions("v", "", clock, segment.annotations))
    video, audio = columns["gate_reliability_video"], columns["gate_reliability_audio"]
    assert video + audio == pytest.approx(np.ones(len(video)))
    assert (video[0], audio[0]) == (0.5, 0.5)
    assert (video[-1], audio[-1]) == pytest.approx((2 / 3, 1 / 3))


@torch.no_grad()
def test_weights_of_recursions_become_numbered_columns():
    """Each frame's columns hold the weights of the step that ends at it, option by option."""
    torch.manual_seed(0)
    model = EmotionModel(SPEC, dataclasses.replace(CONFIG.model, gate="tagf", gate_init="xavier")).eval()
    segment, predicted = make_segment(), []
    model.register_forward_hook(lambda *call: predicted.append(call[-1].gates))
    gates = predict_segment(model, segment, VIEW, SPEC).gates
    assert sorted(gates) == sorted(f"{modality}_{r}" for modality in ("video", "audio") for r in range(3))
    for modality in ("video", "audio"):
        weights = np.stack([gates[f"{modality}_{r}"] for r in range(3)], axis=-1)
        assert weights.sum(-1) == pytest.approx(np.ones(len(weights)), abs=1e-5)
        assert np.ptp(weights) > 0.01, "equal weights could be swapped unseen"
        rows = {row.tobytes() for output in predicted for row in output[modality].reshape(-1, 3).numpy()}
        assert {row.tobytes() for row in weights} <= rows


def test_a_masked_modality_is_masked_at_every_frame():
    segment = make_segment()
    clock = clock_of(segment, masked_modality="video")
    assert not clock.gates["modality_video"].any()
    assert not clock.values[:, 0].any()
    assert np.abs(clock.values[:, 1] - segment.labels[7:, 1]).max() < 0.1
    assert clock.face_ok.all()  # what is there does not change, only the model's input


def test_predictions_are_clipped():
    class Loud(FakeModel):
        def forward(self, batch):
            prediction = super().forward(batch)
            return prediction._replace(values_BL2=prediction.values_BL2 * 100)

    values = predict_segment(Loud(), make_segment(), VIEW, SPEC).values
    assert values.min() == -1
    assert values.max() == 1


def clock(values, valid=None, rate_hz=10.0):
    count = len(values)
    both = np.stack([values, values], 1).astype(np.float32)
    ok = np.ones(count, bool)
    valid = ok if valid is None else np.array(valid)
    return ClockPredictions(
        np.arange(count) / rate_hz, both, valid, ok, ok, {"modality_video": np.arange(count) / count}
    )


def test_missing_steps_repeat_the_last_valid_prediction_and_zero_before_the_first():
    filled = with_invalid_filled(clock([0.9, 0.8, 0.1, 0.7, 0.2], [False, True, False, False, True]))
    assert np.allclose(filled.values[:, 0], [0, 0.8, 0.8, 0.8, 0.2])


def annotations(times_s):
    rows = np.zeros(len(times_s), ANNOTATION_DTYPE)
    rows["time_s"], rows["frame"] = times_s, np.arange(len(times_s))
    return rows


def test_predictions_are_interpolated_onto_the_annotations_and_held_at_the_ends():
    stream = StreamPredictions("v", "left", clock([0.0, 1.0, 0.5]), annotations([-1, 0.0, 0.05, 0.125, 0.2, 9]))
    columns = align_to_annotations(stream)
    assert np.allclose(columns["valence_pred"], [0, 0, 0.5, 0.875, 0.5, 0.5])
    assert np.allclose(columns["gate_modality_video"], np.array([0, 0, 0, 1, 2, 2]) / 3)
    assert set(columns["person"]) == {"left"}


def test_a_clock_of_one_frame_is_held_everywhere():
    columns = align_to_annotations(StreamPredictions("v", "", clock([0.5]), annotations([0.0, 3.0])))
    assert columns["valence_pred"].tolist() == [0.5, 0.5]


def test_streams_join_their_segments_in_time_whatever_the_order_of_the_index(tmp_path):
    segments = [make_segment("b", start_s=1.28), make_segment("a"), make_segment("b", start_s=0.0)]
    rows = write_shard(tmp_path, "test-00000", segments)
    streams = list(predict_streams(FakeModel(), str(tmp_path), rows, VIEW, SPEC, "none"))
    assert [stream.name for stream in streams] == ["a", "b"]
    assert np.allclose(np.diff(streams[1].clock.times_s), 0.04)
    assert len(streams[1].annotations) == 64
    columns = align_streams(streams)
    assert len(columns["time_s"]) == 96
    assert np.abs(columns["valence_pred"] - columns["valence"]).max() < 0.1


def test_a_sample_that_cannot_be_read_is_not_left_out(tmp_path):
    (row,) = write_shard(tmp_path, "test-00000", [make_segment("a")])
    with pytest.raises(ValueError, match=r"ends .* bytes before sample"):
        list(predict_streams(FakeModel(), str(tmp_path), [dataclasses.replace(row, offset=10**9)], VIEW, SPEC, "none"))
