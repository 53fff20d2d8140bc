"""The results of earlier scans, kept under the root by the content of each file."""

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
    """Results of scans by the `content_id` of their files: all durations in one file, each anchor in its own.

    For a plan (`preprocess.dry_run`) it is read, and nothing is written.

    An anchor depends on the settings of the face detector and on the toolchain too; a duration on the version of PyAV.
    """

    def __init__(self, config: Config, toolchain: dict[str, str]) -> None:
        self.config = config
        self._anchor_settings = (config.faces, config.media.frame_rate_hz, toolchain)
        self._uri = storage.join(config.storage.root, _FOLDER, f"durations-av{av.__version__}.json")
        self._durations = json.loads(storage.read_text(self._uri)) if storage.exists(self._uri) else {}
        self._saved = dict(self._durations)

    def get(self, video: Video) -> ScanResult | None:
        """The result for a stream, or None when its file must be scanned."""
        duration_s = self._durations.get(video.content_id)
        if duration_s is None or not needs_cutting(duration_s, self.config):
            return None if duration_s is None else ScanResult(duration_s)
        uri = self._anchor_uri(video)
        if not storage.exists(uri):
            return None
        return ScanResult(duration_s, tuple(AnchorPoint(**point) for point in json.loads(storage.read_text(uri))))

    def put(self, video: Video, result: ScanResult) -> None:
        """Keep a result, unless it is not complete; `save` writes durations, an anchor is written at once."""
        if not result.complete:
            return
        self._durations[video.content_id] = result.duration_s
        if needs_cutting(result.duration_s, self.config) and not self.config.preprocess.dry_run:
            points = [asdict(point) for point in result.anchor]
            storage.publish_bytes(json.dumps(points).encode(), self._anchor_uri(video))

    def delete(self, content_id: str) -> None:
        """Remove all results for a file, for example one that was withdrawn."""
        self._durations.pop(content_id, None)
        for file in storage.list_files(self._anchors_uri(content_id)):
            storage.delete(file.uri)

    def save(self) -> None:
        """Write the durations to the storage, if there are new ones."""
        if self._durations != self._saved and not self.config.preprocess.dry_run:
            storage.publish_bytes(json.dumps(self._durations, sort_keys=True, indent=0).encode(), self._uri)
            self._saved = dict(self._durations)

    def _anchors_uri(self, content_id: str) -> str:
        return storage.join(self.config.storage.root, _FOLDER, "anchors", content_id)

    def _anchor_uri(self, video: Video) -> str:
        name = fingerprint(choice_of(video, self.config), *self._anchor_settings)
        return storage.join(self._anchors_uri(video.content_id), f"{name}.json")
