"""Valence and arousal can be read from the picture alone and from the sound alone, of people never seen before."""

import json

import av
import cv2
import numpy as np
import pytest

from tests.support.talkers import synthesize

SETTINGS = {"num_identities": 12, "clips_per_identity": 2, "duration_s": 8.0, "seed": 5}
HELD_OUT = 4  # identities
EVERY = 8  # frames
WINDOW_S = 1.28


@pytest.fixture(scope="module")
def talkers(tmp_path_factory):
    """Features of the picture and of the sound, labels and identity of every EVERY-th frame of all clips."""
    folder = tmp_path_factory.mktemp("talkers")
    specs = synthesize(folder, **SETTINGS)
    parts = [
        (*_features(*(folder / name for name in (spec.files[0], spec.files[3]))), *_labels(folder, spec))
        for spec in specs
    ]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _labels(folder, spec):
    rows = np.loadtxt(folder / spec.files[1], delimiter=",", skiprows=1)[::EVERY, 1:]
    return rows, np.full(len(rows), spec.identity)


def _features(video, truth):
    boxes = json.loads(truth.read_text())["boxes"][::EVERY]
    with av.open(str(video)) as container:
        grey = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)][::EVERY]
    with av.open(str(video)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    picture = np.stack([_picture_features(frame, box) for frame, box in zip(grey, boxes, strict=True)])
    return picture, np.stack([_sound_features(sound, EVERY * i / 25.0) for i in range(len(picture))])


def _picture_features(grey, box):
    """The face, small and without its brightness."""
    x0, y0, x1, y1 = map(round, box)
    small = cv2.resize(grey[y0:y1, x0:x1], (24, 24), interpolation=cv2.INTER_AREA).astype(float)
    return ((small - small.mean()) / (small.std() + 1e-6)).ravel()


def _sound_features(sound, at_s):
    """Mean and spread of band levels in dB over the window that ends at `at_s`, and how fast they change."""
    end = max(round(at_s * 16000), round(WINDOW_S * 16000))
    frames = sound[end - round(WINDOW_S * 16000) : end].reshape(-1, 320) * np.hanning(320)
    power = np.abs(np.fft.rfft(frames)) ** 2
    bands = np.stack([band.mean(axis=1) for band in np.array_split(power[:, 1:], 20, axis=1)], axis=1)
    level = 10 * np.log10(bands + 1e-7)
    return np.concatenate([level.mean(axis=0), level.std(axis=0), np.abs(np.diff(level, axis=0)).mean(axis=0)])


def _ridge_predictions(features, labels, train, strength):
    mean, spread = features[train].mean(axis=0), features[train].std(axis=0) + 1e-9
    x = (features - mean) / spread
    y_mean = labels[train].mean(axis=0)
    gram = x[train].T @ x[train] + strength * train.sum() * np.eye(x.shape[1])
    return x[~train] @ np.linalg.solve(gram, x[train].T @ (labels[train] - y_mean)) + y_mean


def _ccc(a, b):
    covariance = np.mean((a - a.mean()) * (b - b.mean()))
    return 2 * covariance / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)


@pytest.mark.parametrize("dimension", [0, 1], ids=["valence", "arousal"])
@pytest.mark.parametrize("modality", [0, 1], ids=["picture", "sound"])
def test_a_linear_model_recovers_it_for_strangers(talkers, modality, dimension):
    labels, identity = talkers[2], talkers[3]
    train = identity >= HELD_OUT
    predicted = _ridge_predictions(talkers[modality], labels, train, strength=(1.0, 0.03)[modality])
    ccc = _ccc(predicted[:, dimension], labels[~train, dimension])
    assert ccc > 0.5
