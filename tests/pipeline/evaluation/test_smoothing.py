"""The mean filter against a convolution and a plain loop, also beside what is missing, and the choice of its width."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.evaluation.alignment import align_streams, align_to_annotations
from pipeline.evaluation.predictions import ClockPredictions, StreamPredictions, with_invalid_filled
from pipeline.evaluation.smoothing import CANDIDATES_S, Windows, smooth, tune_windows
from pipeline.records import ANNOTATION_DTYPE

RATE_HZ = 30.0
PUBLISHED = Windows(20 / 30, 50 / 30)


def stream(values, valid=None, times_s=None, true=None):
    values, count = np.asarray(values, np.float32), len(values)
    times_s = np.arange(count) / RATE_HZ if times_s is None else times_s
    valid = np.ones(count, bool) if valid is None else np.asarray(valid)
    rows = np.zeros(count, ANNOTATION_DTYPE)
    rows["time_s"] = times_s
    if true is not None:
        rows["valence"], rows["arousal"] = np.asarray(true).T
    return StreamPredictions(
        "talker", "", with_invalid_filled(ClockPredictions(times_s, values, valid, valid, valid)), rows
    )


def noise(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 2)).astype(np.float32)


def loop(values, valid, times_s, num_frames):
    """The definition, frame by frame: walk both ways until the window, the stream or the run ends."""
    result = np.zeros(len(values))
    for i in range(len(values)):
        if not valid[i]:
            result[i] = result[i - 1] if i else 0
            continue
        chosen = [values[i]]
        for step, reach in ((-1, num_frames // 2), (1, num_frames - 1 - num_frames // 2)):
            for j in range(i + step, i + step * (reach + 1), step):
                if not 0 <= j < len(values) or not valid[j] or abs(times_s[j] - times_s[j - step]) > 1.5 / RATE_HZ:
                    break
                chosen.append(values[j])
        result[i] = np.mean(chosen, dtype=float)
    return result


def test_far_from_the_ends_it_is_a_convolution_with_a_box():
    values = noise(300)
    found = smooth(stream(values), PUBLISHED, RATE_HZ).clock.smoothed
    for column, size in ((0, 20), (1, 50)):
        expected = np.convolve(values[:, column].astype(float), np.full(size, 1 / size), "same")
        assert found[50:-50, column] == pytest.approx(expected[50:-50], abs=1e-6)


@given(
    values=arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1, 1, width=32)),
    num_frames=st.integers(0, 12),
    data=st.data(),
)
def test_it_is_its_definition_whatever_is_missing(values, num_frames, data):
    count = len(values)
    valid = data.draw(arrays.arrays(bool, count))
    gaps = data.draw(arrays.arrays(np.int64, count, elements=st.sampled_from([1, 1, 1, 4])))
    raw_stream = stream(np.stack([values, -values], 1), valid, np.cumsum(gaps) / RATE_HZ)
    width_s = num_frames / RATE_HZ
    clock = smooth(raw_stream, Windows(width_s, width_s), RATE_HZ).clock
    expected = loop(values, valid, clock.times_s, max(num_frames, 1))
    assert clock.smoothed == pytest.approx(np.stack([expected, -expected], 1), abs=1e-6)
    assert np.array_equal(clock.values, raw_stream.clock.values)


def test_frames_without_a_prediction_are_no_zeros_and_end_the_window():
    valid = np.ones(60, bool)
    valid[20:30] = False
    values = np.where(np.arange(60)[:, None] < 25, 0.8, -0.4) * np.ones((1, 2))
    found = smooth(stream(values, valid), PUBLISHED, RATE_HZ).clock.smoothed
    assert found[:30] == pytest.approx(0.8)  # also repeated over the gap
    assert found[30:] == pytest.approx(-0.4)


def test_a_constant_prediction_stays_that_constant_and_none_at_all_stays_zero():
    values = np.full((1000, 2), 0.1, np.float32)
    assert np.array_equal(smooth(stream(values), PUBLISHED, RATE_HZ).clock.smoothed, values)
    assert not smooth(stream(values, np.zeros(1000, bool)), PUBLISHED, RATE_HZ).clock.smoothed.any()


def test_wider_windows_leave_less_and_less_noise_and_a_window_of_one_frame_all_of_it():
    raw_stream = stream(noise(2000))
    spread = [smooth(raw_stream, Windows(w, w), RATE_HZ).clock.smoothed.std(0) for w in (0, 1 / 30, 0.2, 0.5, 1, 2, 4)]
    assert np.array_equal(spread[0], spread[1])
    assert np.array_equal(spread[0], raw_stream.clock.values.std(0))
    assert (np.diff(spread[1:], axis=0) < 0).all()


def noisy(seed, noise_of=(0.5, 0.05), video="talker"):
    """Slow annotations, predicted with noise of its own amount in each dimension."""
    times_s = np.arange(1800) / RATE_HZ
    true = 0.5 * np.stack([np.sin(0.7 * times_s + seed), np.cos(0.5 * times_s + seed)], 1)
    predicted = np.clip(true + np.random.default_rng(seed).normal(0, noise_of, true.shape), -1, 1)
    return dataclasses.replace(stream(predicted, true=true), video_id=video)


def test_the_tuned_widths_are_the_best_of_the_candidates_for_each_dimension():
    streams = [noisy(seed, video=f"v{seed}") for seed in range(3)]
    windows = tune_windows(streams, "val", RATE_HZ)

    def loss(width_s, name):
        columns = align_streams(smooth(s, Windows(width_s, width_s), RATE_HZ) for s in streams)
        x, y = columns[f"{name}_smoothed"].astype(float), columns[name].astype(float)
        return -2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)

    for name in ("valence", "arousal"):
        best = min(CANDIDATES_S, key=lambda width_s: loss(width_s, name))
        assert getattr(windows, f"{name}_s") == best
    assert windows.valence_s > windows.arousal_s > 0  # more noise, wider
    assert windows.tuned_on == "val"


def test_a_filter_that_lowers_no_loss_is_left_out():
    flat = stream(np.zeros((90, 2)), true=noise(90))
    assert tune_windows([flat], "val", RATE_HZ) == Windows(0, 0, "val")


def test_both_are_columns_of_the_predictions_and_without_a_filter_only_the_raw_ones():
    raw_stream = noisy(0)
    columns = align_to_annotations(smooth(raw_stream, PUBLISHED, RATE_HZ))
    raw = align_to_annotations(raw_stream)
    assert set(columns) - set(raw) == {"valence_smoothed", "arousal_smoothed"}
    assert np.array_equal(columns["valence_pred"], raw["valence_pred"])
    assert columns["valence_smoothed"].std() < columns["valence_pred"].std()
