"""What earlier scans found, kept under the root by what each file is."""

from __future__ import annotations

import json
from dataclasses import asdict

import av

from pipeline import storage
from pipeline.config import Config, fingerprint
from pipeline.dataset.plan.scan import choice_of
from pipeline.dataset.plan.shard_plan import ScanResult, needs_cutting
from pipeline.records import AnchorPoint, Video

_FOLDER = "cache"


class ScanCache:
    """What earlier looks found, kept under the root: durations in one file, each anchor in its own."""

    def __init__(self, config: Config, toolchain: dict[str, str]) -> None:
        self.config = config
        self._made_with = (config.faces, config.media.frame_rate_hz, toolchain)
        self._uri = storage.join(config.storage.root, _FOLDER, f"durations-av{av.__version__}.json")
        self._durations = json.loads(storage.read_text(self._uri)) if storage.exists(self._uri) else {}
        self._num_saved = len(self._durations)

    def recall(self, video: Video) -> ScanResult | None:
        """The facts of a stream whose file and settings are known, or None when it must be looked at."""
        duration_s = self._durations.get(video.content_id)
        if duration_s is None or not needs_cutting(duration_s, self.config):
            return None if duration_s is None else ScanResult(duration_s)
        uri = self._anchor_uri(video)
        if not storage.exists(uri):
            return None
        return ScanResult(duration_s, tuple(AnchorPoint(**point) for point in json.loads(storage.read_text(uri))))

    def learn(self, video: Video, facts: ScanResult) -> None:
        """Remember a look, unless the next one may find more; durations are written down by `save`."""
        if not facts.complete:
            return
        self._durations[video.content_id] = facts.duration_s
        if needs_cutting(facts.duration_s, self.config):
            points = [asdict(point) for point in facts.anchor]
            storage.publish_bytes(json.dumps(points).encode(), self._anchor_uri(video))

    def forget(self, content_id: str) -> None:
        """Remove what is known of a file whose owner withdrew it."""
        self._durations.pop(content_id, None)
        for found in storage.list_files(self._anchors_of(content_id)):
            storage.delete(found.uri)

    def save(self) -> None:
        """Write the durations down, if there are new ones."""
        if len(self._durations) != self._num_saved:
            storage.publish_bytes(json.dumps(self._durations, sort_keys=True, indent=0).encode(), self._uri)
            self._num_saved = len(self._durations)

    def _anchors_of(self, content_id: str) -> str:
        return storage.join(self.config.storage.root, _FOLDER, "anchors", content_id)

    def _anchor_uri(self, video: Video) -> str:
        name = fingerprint(choice_of(video, self.config), *self._made_with)
        return storage.join(self._anchors_of(video.content_id), f"{name}.json")
