"""Both face detectors find the drawn faces at their true positions."""

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.support.talkers import synthesize

YUNET = Path(__file__).parents[3] / "../shared/models/yunet_n_320.onnx"


@pytest.fixture(scope="module")
def visible_faces(tmp_path_factory):
    """(picture, box) of frames in which the face can be seen, over 16 people."""
    folder = tmp_path_factory.mktemp("talkers")
    specs = synthesize(folder, num_identities=16, clips_per_identity=1, duration_s=4.0, corrupted_fraction=0.3, seed=0)
    faces = []
    for spec in specs:
        truth = json.loads((folder / spec.files[3]).read_text())
        with av.open(str(folder / spec.files[0])) as container:
            frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
        shots = list(zip(frames, truth["boxes"], truth["covered"], strict=True))[::10]
        faces += [(picture, box) for picture, box, covered in shots if not covered]
    return faces


def _overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return shared / (sum(areas) - shared)


def _share_detected(visible_faces, detect):
    best = [
        max((_overlap(box, (x, y, x + w, y + h)) for x, y, w, h in detect(p)), default=0) for p, box in visible_faces
    ]
    return np.mean(np.array(best) >= 0.5)


def test_haar_finds_them(visible_faces):
    haar = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")
    detect = lambda picture: haar.detectMultiScale(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), 1.1, 3)  # noqa: E731
    assert _share_detected(visible_faces, detect) >= 0.95


@pytest.mark.skipif(not YUNET.exists(), reason=f"the YuNet model is not at {YUNET}")
def test_yunet_finds_them(visible_faces):
    yunet = cv2.FaceDetectorYN.create(str(YUNET), "", (320, 240), 0.6)

    def detect(picture):
        _, faces = yunet.detect(picture)
        return [] if faces is None else faces[:, :4]

    assert _share_detected(visible_faces, detect) >= 0.99
