"""One span of a stream from its file to its segments, and what is learnt of it on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.storage.download_cache import LastCopy
from pipeline.dataset.sources.crop_folders import crop_reader
from pipeline.dataset.plan.scan import choice_of
from pipeline.dataset.build.gaps import PARTIAL_SLACK_S, face_fraction, gaps_of
from pipeline.dataset.build.media_options import crop_options, decode_options, mel_options, video_options
from pipeline.dataset.sources.content_id import content_id_of_file
from pipeline.dataset.sources.label_files import read_labels, with_labels
from pipeline.dataset.sources.labels import LabelError, LabelRows, annotations_of
from pipeline.dataset.build.tiling import SpanSignals, Tiling, tile
from pipeline.media.faces.detect import Detector
from pipeline.media.options import ClockSpan, PersonRule
from pipeline.media.read_crops import read_crops
from pipeline.media.container.probe import probe
from pipeline.media.read_sound import read_sound
from pipeline.media.read_video import read_video
from pipeline.records import (
    LABEL_NAMES,
    Annotations,
    Probe,
    Rejection,
    Segment,
    SoundOnClock,
    Span,
    Video,
    VideoOnClock,
    VideoRow,
)

MAX_FACES = 20  # of a span are told of by name; a crowd has more, who are counted


@dataclass(frozen=True, slots=True)
class Tools:
    """What a worker decodes and looks with, and where it keeps the video it is at."""

    ffmpeg: str
    detector: Detector
    copies: LastCopy = field(default_factory=LastCopy)


class SpanBuild:
    """One span of a stream on its way through the stages; `row` always says what is known of it so far.

    Durations, coverage and shares are the span's own; labels are counted in the whole file.
    """

    def __init__(self, span: Span, config: Config, tools: Tools, directory: Path) -> None:
        self.span, self.config, self.tools, self.directory = span, config, tools, directory
        self.video = video = span.video
        rate = config.media.frame_rate_hz
        self.start_s = span.start_frame / rate
        self.stop_s = span.stop_frame / rate if span.stop_frame >= 0 else math.inf
        self.stage = "source"
        self.sheet = b""  # a picture of what was followed, for people
        self.row = VideoRow(
            video_id=video.video_id,
            person=video.person,
            uri=video.uri,
            group=video.group,
            split=video.split,
            status="ok",
            stage="",
            reason="",
            detail="",
            duration_s=self.stop_s - self.start_s if span.stop_frame >= 0 else 0.0,
            size_bytes=video.size_bytes,
            content_id=video.content_id,
            labels_content_id=video.labels_content_id,
        )

    def segments(self) -> Iterator[Segment]:
        """Run all stages but the last, then cut the segments one by one.

        Raises:
            Rejection: a stage refuses the stream, or the file changed meanwhile.
        """
        path = self._fetch()
        before = _version(path)
        facts = self._probe(path)
        annotations = self._annotations(facts)
        seen = self._video(path, facts)
        heard = self._sound(path, facts, len(seen.frames))
        self.stage = "write"
        media, sound, sizes = self.config.media, self.config.sound, self.config.segments
        place = self.first_frame, self.span.start_frame, seen.followed
        signals = SpanSignals(seen.frames, seen.mjpeg_path, heard.mel_db, heard.hop_ok, annotations, *place)
        tiling = Tiling(media.frame_rate_hz, sound.hop_s, sizes.num_frames, sizes.num_preroll)
        own = []
        for segment in tile(self.video, signals, tiling):
            own.append(segment.frames[segment.num_preroll :])
            yield segment
        self._learn(gaps=gaps_of(np.concatenate(own), media.frame_rate_hz))
        if _version(path) != before:
            raise Rejection("source", "changed", f"{self.video.uri} was written to while it was read")

    @property
    def first_frame(self) -> int:
        """The clock's frame that decoding begins with: the context of the first segment, if there is any."""
        return max(0, self.span.start_frame - self.config.segments.num_preroll)

    @property
    def reads_storage(self) -> bool:
        """Whether what may fail now is the storage: that a video could not be fetched says nothing of the video."""
        return self.stage in ("source", "labels") or (self.stage == "decode" and bool(self.video.crops_uri))

    def rejected(self, reason: str, detail: str, stage: str = "") -> VideoRow:
        """The row of a stream that cannot be used; its labelled frames are counted all the same."""
        if not self.row.labelled_frames:
            values = self._labels_without_frames()  # which learns of the file, too
            self.row = with_labels(self.row, values)
        return replace(self.row, status="rejected", stage=stage or self.stage, reason=reason, detail=detail[:2000])

    def _fetch(self) -> Path:
        begin = perf_counter()
        try:
            path = self.tools.copies.path_of(self.video.uri)
        except FileNotFoundError as error:
            raise Rejection("source", "missing", _missing(self.video, error)) from error
        found = content_id_of_file(path)
        if found != self.video.content_id:
            raise Rejection("source", "changed", f"planned with content_id {self.video.content_id}, now it has {found}")
        self._learn(seconds_fetch=perf_counter() - begin)
        return path

    def _probe(self, path: Path) -> Probe:
        self.stage, begin = "probe", perf_counter()
        facts = probe(path, max_duration_s=self.config.media.max_duration_s)
        self._learn(
            seconds_probe=perf_counter() - begin,
            container=facts.container,
            duration_s=self._within(facts.duration_s),
            video_codec=facts.video_codec,
            audio_codec=facts.audio_codec,
            width_px=facts.width_px,
            height_px=facts.height_px,
            num_source_frames=len(facts.frame_times_s),
        )
        return facts

    def _annotations(self, facts: Probe) -> Annotations:
        self.stage = "labels"
        try:
            rows = self._label_rows()
        except LabelError as error:
            raise Rejection("labels", "bad_labels", str(error)) from error
        except FileNotFoundError as error:
            raise Rejection("labels", "missing", f"they were there when the plan was made: {error}") from error
        annotations = annotations_of(rows, frame_times_s=facts.frame_times_s)
        self.row = with_labels(self.row, np.stack([annotations.rows[name] for name in LABEL_NAMES], axis=1))
        return annotations

    def _see(self, path: Path, facts: Probe) -> VideoOnClock:
        """Crops on the clock: those that lie beside the video, or of the faces that are found in it."""
        span = ClockSpan(self.first_frame, self.span.stop_frame, self.span.start_frame - self.first_frame)
        if self.video.crops_uri:
            return read_crops(
                crop_reader(self.video),
                facts,
                directory=self.directory,
                frame_rate_hz=self.config.media.frame_rate_hz,
                crop=crop_options(self.config),
                span=span,
            )
        return read_video(
            path,
            facts,
            video_options(self.config, self.tools.ffmpeg),
            detector=self.tools.detector,
            directory=self.directory,
            rule=PersonRule(choice_of(self.video, self.config), self.span.anchor),
            span=span,
        )

    def _video(self, path: Path, facts: Probe) -> VideoOnClock:
        self.stage = "decode"
        media, faces = self.config.media, self.config.faces
        try:
            seen = self._see(path, facts)
        except Rejection as nobody:
            self._learn_faceless(nobody.frames)
            raise
        self._learn_faceless(seen.frames)
        if len(seen.frames) <= self.span.start_frame - self.first_frame:
            raise Rejection("decode", "undecodable", f"not one frame from {self.start_s:.2f} s on; {seen.problem}")
        self.sheet = seen.contact_sheet
        fraction = face_fraction(seen, facts, media.frame_rate_hz, self.start_s)
        covered_s = self._within(seen.covered_s)
        self._learn(
            covered_s=covered_s,
            face_fraction=fraction,
            seconds_decode=seen.seconds_decode,
            seconds_detect=seen.seconds_detect,
            seconds_crop=seen.seconds_crop,
            seconds_encode=seen.seconds_encode,
            seconds_faces=seen.seconds_faces,
            num_cuts=seen.num_cuts,
            followed=seen.followed,
            num_faces=len(seen.faces),
            faces=seen.faces[:MAX_FACES],
        )
        problem = facts.problem or seen.problem
        if problem or covered_s < self.row.duration_s - PARTIAL_SLACK_S:
            detail = problem or f"{self.row.duration_s:.2f} s in the container, {covered_s:.2f} s decoded"
            self._learn(stage="decode", reason="partial", detail=detail[:2000])
        person_is_elsewhere = self.span.anchor or self.video.crops_uri
        if fraction < faces.min_face_fraction or (fraction == 0 and not person_is_elsewhere):
            least = f"; faces.min_face_fraction is {faces.min_face_fraction}" if fraction else ""
            raise Rejection("faces", "no_face", f"a face in {fraction:.1%} of the frames{least}")
        return seen

    def _sound(self, path: Path, facts: Probe, num_frames: int) -> SoundOnClock:
        self.stage = "audio"
        heard = read_sound(
            path,
            facts,
            decode_options(self.config, self.tools.ffmpeg),
            mel_options(self.config),
            num_clock_frames=num_frames,
            first_frame=self.first_frame,
        )
        self._learn(
            seconds_audio=heard.seconds_audio,
            audio_fraction=float(np.mean(heard.hop_ok)),
            silent_fraction=heard.silent_fraction,
            clipped_fraction=heard.clipped_fraction,
        )
        if heard.problem and not self.row.reason:
            self._learn(stage="audio", reason="partial", detail=heard.problem[:2000])
        return heard

    def _within(self, time_s: float) -> float:
        """How much of the span lies before a time of the video's clock."""
        return max(0.0, min(time_s, self.stop_s) - self.start_s)

    def _learn(self, **facts: Any) -> None:
        self.row = replace(self.row, **facts)

    def _learn_faceless(self, frames: NDArray[np.void] | None) -> None:
        """Where picture or face is missing; nothing is known of the sound yet."""
        if frames is not None:
            own = frames[self.span.start_frame - self.first_frame :]
            self._learn(gaps=gaps_of(own, self.config.media.frame_rate_hz, ("picture", "face")))

    def _labels_without_frames(self) -> NDArray[np.float32]:
        """Valid rows of the label file of a stream whose frames nobody saw; none when the file itself is at fault."""
        try:
            rows = self._label_rows()
            return rows.values[rows.valid]
        except (LabelError, FileNotFoundError, Rejection):
            return np.zeros((0, 2), np.float32)  # the row has its reason already

    def _label_rows(self) -> LabelRows:
        begin = perf_counter()
        rows = read_labels(self.video, self.config.source)
        self._learn(
            seconds_fetch=self.row.seconds_fetch + perf_counter() - begin,
            num_label_rows=len(rows.places),
            num_invalid_labels=rows.num_invalid,
        )
        return rows


def _missing(video: Video, error: FileNotFoundError) -> str:
    """What to do about a video that is gone."""
    need = "its crops alone do not tell when they are shown, nor the sound; " if video.crops_uri else ""
    return f"{video.uri} was there when the plan was made: {error}; {need}put it back and use --retry-rejected"


def _version(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
