"""A look at a file before the plan: how long it is and where its person is, remembered by what the file is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import av

from pipeline import storage
from pipeline.config import Config, fingerprint
from pipeline.dataset.copies import LastCopy
from pipeline.dataset.plan import Facts, needs_cutting
from pipeline.media.faces import Detector
from pipeline.media.people import scan_people
from pipeline.media.probe import probe
from pipeline.media.tracks import Choice
from pipeline.records import AnchorPoint, Probe, Rejection, Video

PERSONS: dict[str, Choice] = {"left": "left", "right": "right"}  # of a stream: how its face is chosen
_FOLDER = "cache"


def choice_of(video: Video, config: Config) -> Choice:
    """Which person of a stream is followed: the one its labels are of, else by the configured rule."""
    return PERSONS.get(video.person, config.faces.choose)


def look(
    video: Video, config: Config, *, ffmpeg: str, load_detector: Callable[[], Detector], copies: LastCopy | None = None
) -> Facts | None:
    """Probe one file and, if it is long enough to be cut, find the person to follow on its keyframes.

    A file that cannot be read, or whose person cannot be found, has empty facts: building it will say why. One that is
    gone or was not read in time has none at all: the next look may find more. Where only the search for the person was
    not done in time, the facts are not settled.

    Args:
        video: the stream.
        config: the experiment.
        ffmpeg: the executable.
        load_detector: called when faces must be looked for.
        copies: where a video from a bucket is kept, for whoever looks at another stream of the same file next.

    Raises:
        OSError: the storage does not answer.
    """
    copies = copies or LastCopy()
    try:
        path = copies.path_of(video.uri)
        found = probe(path, max_duration_s=math.inf)
    except FileNotFoundError:
        return None
    except Rejection as rejection:
        return None if rejection.reason == "timeout" else Facts()
    if not needs_cutting(found.duration_s, config):
        return Facts(found.duration_s)
    try:
        return Facts(found.duration_s, _scan(path, found, video, config, ffmpeg, load_detector()))
    except Rejection as rejection:
        return Facts(found.duration_s, settled=rejection.reason != "timeout")


def _scan(
    path: Path, found: Probe, video: Video, config: Config, ffmpeg: str, detector: Detector
) -> tuple[AnchorPoint, ...]:
    faces = config.faces
    return scan_people(
        path,
        found,
        detector=detector,
        ffmpeg=ffmpeg,
        choose=choice_of(video, config),
        min_score=faces.min_score,
        timeout_s=config.media.timeout_s,
    )


class Memory:
    """What earlier looks found, kept under the root: durations in one file, each anchor in its own."""

    def __init__(self, config: Config, toolchain: dict[str, str]) -> None:
        self.config = config
        self._made_with = (config.faces, config.media.frame_rate_hz, toolchain)
        self._uri = storage.join(config.storage.root, _FOLDER, f"durations-av{av.__version__}.json")
        self._durations = json.loads(storage.read_text(self._uri)) if storage.exists(self._uri) else {}
        self._num_saved = len(self._durations)

    def recall(self, video: Video) -> Facts | None:
        """The facts of a stream whose file and settings are known, or None when it must be looked at."""
        duration_s = self._durations.get(video.identity)
        if duration_s is None or not needs_cutting(duration_s, self.config):
            return None if duration_s is None else Facts(duration_s)
        uri = self._anchor_uri(video)
        if not storage.exists(uri):
            return None
        return Facts(duration_s, tuple(AnchorPoint(**point) for point in json.loads(storage.read_text(uri))))

    def learn(self, video: Video, facts: Facts) -> None:
        """Remember a look, unless the next one may find more; durations are written down by `save`."""
        if not facts.settled:
            return
        self._durations[video.identity] = facts.duration_s
        if needs_cutting(facts.duration_s, self.config):
            points = [asdict(point) for point in facts.anchor]
            storage.publish_bytes(json.dumps(points).encode(), self._anchor_uri(video))

    def forget(self, identity: str) -> None:
        """Remove what is known of a file whose owner withdrew it."""
        self._durations.pop(identity, None)
        for found in storage.list_files(self._anchors_of(identity)):
            storage.delete(found.uri)

    def save(self) -> None:
        """Write the durations down, if there are new ones."""
        if len(self._durations) != self._num_saved:
            storage.publish_bytes(json.dumps(self._durations, sort_keys=True, indent=0).encode(), self._uri)
            self._num_saved = len(self._durations)

    def _anchors_of(self, identity: str) -> str:
        return storage.join(self.config.storage.root, _FOLDER, "anchors", identity)

    def _anchor_uri(self, video: Video) -> str:
        name = fingerprint(choice_of(video, self.config), *self._made_with)
        return storage.join(self._anchors_of(video.identity), f"{name}.json")
