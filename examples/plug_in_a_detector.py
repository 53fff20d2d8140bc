"""Plug in a face detector of your own: here one that also finds faces in profile.

    python examples/plug_in_a_detector.py VIDEO [VIDEO ...] --out crops

Reads each video as preprocessing does, follows the person who is visible longest, and writes their face as a video that
any player plays.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from pipeline.media.container.probe import probe
from pipeline.media.faces.detect import Detection, area, make_detector
from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.media.options import CropOptions, DecodeOptions, PersonRule, TrackingOptions, VideoOptions
from pipeline.media.picture_stream import Picture
from pipeline.media.read_video import read_video
from pipeline.records import Rejection

MIN_SCORE = 0.6
OPTIONS = VideoOptions(
    DecodeOptions(ffmpeg=find_ffmpeg(), frame_rate_hz=25.0, timeout_s=3600.0),
    TrackingOptions(detect_every=10, min_score=MIN_SCORE, min_overlap=0.3, max_gap_s=0.5),
    CropOptions(crop_px=112, jpeg_quality=92, margin=0.25),
)


class FrontalOrProfileDetector:
    """OpenCV's frontal cascade, and where it finds nothing, its profile cascade on the picture and its mirror image.

    A detector is any class with this `detect`; `pipeline.media.faces.detect.Detector` describes it.
    """

    def __init__(self) -> None:
        self._frontal = make_detector("haar", model_path=None, long_side_px=480, min_score=MIN_SCORE)
        folder: str = cv2.data.haarcascades  # type: ignore[attr-defined]  # OpenCV's stubs lack it
        self._profile = cv2.CascadeClassifier(folder + "haarcascade_profileface.xml")

    def detect(self, picture: Picture) -> list[Detection]:
        """All faces of `picture`, the largest first, boxes (x0, y0, x1, y1) in its pixels."""
        if faces := self._frontal.detect(picture):
            return faces
        width_px = picture.y.shape[1]
        mirrored = ((width_px - x1, y0, width_px - x0, y1) for x0, y0, x1, y1 in self._profiles(picture.y[:, ::-1]))
        boxes = [*self._profiles(picture.y), *mirrored]
        return [Detection(box, score=MIN_SCORE) for box in sorted(boxes, key=area, reverse=True)]

    def _profiles(self, luma: np.ndarray) -> list[tuple[float, float, float, float]]:
        """Faces that look to the left, in a grey picture."""
        found = self._profile.detectMultiScale(np.ascontiguousarray(luma), scaleFactor=1.15, minNeighbors=4)
        return [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h in found]


def main() -> None:
    """Follow one person through every video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("crops"), help="folder for <video>.mjpeg")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    detector = FrontalOrProfileDetector()
    for path in options.videos:
        with tempfile.TemporaryDirectory() as directory:
            try:
                container = probe(path, max_duration_s=12 * 3600.0)
                video = read_video(
                    path, container, OPTIONS, detector=detector, directory=Path(directory), rule=PersonRule("longest")
                )
            except Rejection as rejection:
                print(f"{path.name}: rejected, {rejection}")
                continue
            (options.out / f"{path.stem}.mjpeg").write_bytes(video.mjpeg_path.read_bytes())
        print(f"{path.name}: a face in {video.frames['face_ok'].sum()} of {len(video.frames)} frames")


if __name__ == "__main__":
    main()
