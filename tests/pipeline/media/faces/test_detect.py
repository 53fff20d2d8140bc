import json

import cv2
import numpy as np
import pytest

from pipeline.media.container.probe import probe
from pipeline.media.decode import PictureReader
from pipeline.media.faces.detect import DEFAULT_LONG_SIDE_PX, make_detector
from pipeline.media.faces.track import overlap
from pipeline.media.picture_stream import Picture
from pipeline.synthetic.clip import ClipSpec, make_clip
from tests.support.media_options import DECODE


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """Every tenth picture of a synthetic talker, with the box of the drawn face."""
    folder = tmp_path_factory.mktemp("talker")
    spec = make_clip(ClipSpec(3, 0, 7, 4.0, 320, 240, 25.0, 16000), folder, DECODE.ffmpeg)
    path = folder / spec.files[0]
    boxes = json.loads((folder / spec.files[3]).read_text())["boxes"]
    probed = probe(path, max_duration_s=10)
    with PictureReader(path, probed, DECODE) as reader:
        return [(picture, boxes[i]) for i, picture in enumerate(reader) if i % 10 == 0]


@pytest.mark.parametrize("long_side_px", [0, 240])
def test_haar_finds_a_drawn_face(talker, long_side_px):
    detector = make_detector("haar", model_path=None, long_side_px=long_side_px, min_score=0.6)
    check(detector, talker)


@pytest.mark.parametrize("long_side_px", [0, 160])
def test_yunet_finds_a_drawn_face(talker, yunet, long_side_px):
    detector = make_detector("yunet", model_path=yunet[0], long_side_px=long_side_px, min_score=0.6)
    check(detector, talker)


def check(detector, talker):
    found = [(detector.detect(picture), box) for picture, box in talker]
    best = [overlap(faces[0].box, box) if faces else 0.0 for faces, box in found]
    assert np.mean(np.array(best) >= 0.5) >= 0.9
    assert all(0.6 <= face.score <= 1 for faces, _ in found for face in faces)
    assert detector.detect(talker[0][0]) == found[0][0]  # the same picture, the same answer


def test_a_higher_score_asks_for_more(talker):
    strict = make_detector("haar", model_path=None, long_side_px=0, min_score=0.99)
    assert [strict.detect(picture) for picture, _ in talker] == [[]] * len(talker)


def test_wrong_names_and_files_are_refused(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"no network")
    with pytest.raises(ValueError, match="'mtcnn' does not exist; allowed: haar, yunet"):
        make_detector("mtcnn", model_path=None, long_side_px=0, min_score=0.5)
    with pytest.raises(ValueError, match="yunet needs the path"):
        make_detector("yunet", model_path=None, long_side_px=0, min_score=0.5)
    with pytest.raises(ValueError, match=r"model.onnx is no YuNet model"):
        make_detector("yunet", model_path=model, long_side_px=0, min_score=0.5)


def test_a_detector_without_a_default_size_is_no_detector(monkeypatch):
    monkeypatch.delitem(DEFAULT_LONG_SIDE_PX, "haar")
    with pytest.raises(ValueError, match=r"'haar' does not exist; allowed: yunet \(those in DEFAULT_LONG_SIDE_PX\)"):
        make_detector("haar", model_path=None, long_side_px=0, min_score=0.5)


def test_yunet_finds_the_slope_of_the_eyes_and_haar_does_not(talker, yunet):
    detector = make_detector("yunet", model_path=yunet[0], long_side_px=0, min_score=0.6)
    still = talker[0][0]
    for degrees in (-20, 0, 20):
        turned = Picture(*(turn(plane, degrees) for plane in (still.y, still.u, still.v)))
        (face,) = detector.detect(turned)
        upright = detector.detect(still)[0]
        assert np.degrees(face.roll_rad - upright.roll_rad) == pytest.approx(degrees, abs=6)
    haar = make_detector("haar", model_path=None, long_side_px=0, min_score=0.6)
    assert np.isnan(haar.detect(still)[0].roll_rad)


def turn(plane, degrees):
    """Clockwise around the middle."""
    height, width = plane.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    return cv2.warpAffine(plane, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
