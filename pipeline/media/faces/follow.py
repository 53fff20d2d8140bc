"""Following every face through the pictures of one scene after another."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from pipeline.media.faces.crop_store import CropStore
from pipeline.media.faces.cuts import CutFinder
from pipeline.media.faces.detect import Detection, Detector
from pipeline.media.faces.track import Tracker
from pipeline.media.options import TrackingOptions
from pipeline.media.picture_stream import Picture


class FaceFollower:
    """Detects faces in every k-th frame of the clock, and in all frames between where the faces are not the same.

    A cut is searched on both sides, and ends all tracks. Only the pictures of the longest gap that is interpolated are
    held in memory. `cuts` are the frames, counted from the first picture, at which another scene begins.

    Args:
        detector: of faces.
        tracker: joins what is detected.
        store: takes the crops of all tracks.
        options: of the tracking.
        first_frame: of the clock, which the first picture shows.
    """

    def __init__(
        self, detector: Detector, tracker: Tracker, store: CropStore, options: TrackingOptions, first_frame: int = 0
    ) -> None:
        self.detector, self.tracker, self.store = detector, tracker, store
        self.options, self.first_frame = options, first_frame
        self.cuts: list[int] = []
        self.seconds_detect = 0.0
        self._cut_finder = CutFinder()
        self._recent_pictures: deque[Picture] = deque(maxlen=tracker.max_gap + options.detect_every)
        self._num_pictures = 0
        self._last_searched = -1  # frame that was searched for faces

    def add(self, picture: Picture) -> None:
        """Take the next picture of the clock."""
        frame = self._num_pictures
        is_cut = self._cut_finder.is_cut(picture)
        if is_cut:
            self.finish()
            self.tracker.end_scene()
            self.cuts.append(frame)
        self._recent_pictures.append(picture)
        self._num_pictures += 1
        if is_cut or frame == 0 or (self.first_frame + frame) % self.options.detect_every == 0:
            self._search_last_picture()

    def finish(self) -> None:
        """Search the last picture too, so that a scene's end behind the last detection is not lost."""
        if self._last_searched < self._num_pictures - 1:
            self._search_last_picture()

    def _search_last_picture(self) -> None:
        """Detect faces in the last picture, and in those before it where a face appeared or disappeared since."""
        last = self._num_pictures - 1
        detections = self._detect(last)
        if not self.tracker.has_same_faces(detections, since_frame=self._last_searched):
            for frame in range(self._last_searched + 1, last):
                self._update_tracks(frame, self._detect(frame))
        self._update_tracks(last, detections)
        self._last_searched = last

    def _detect(self, frame: int) -> list[Detection]:
        started_s = time.perf_counter()
        detections = self.detector.detect(self._picture(frame))
        self.seconds_detect += time.perf_counter() - started_s
        return [detection for detection in detections if detection.score >= self.options.min_score]

    def _update_tracks(self, frame: int, detections: Sequence[Detection]) -> None:
        """Continue the tracks to `frame`, and store the crops of all boxes that are known by it."""
        for segment in self.tracker.update(frame, detections):
            for index in range(len(segment.boxes)):
                self.store.add(self._picture(segment.first_frame + index), segment, index)

    def _picture(self, frame: int) -> Picture:
        return self._recent_pictures[frame - self._num_pictures]
