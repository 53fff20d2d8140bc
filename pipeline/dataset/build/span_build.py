"""One span of a stream on its way through the stages: from its file to its segments and its row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.dataset.build.gaps import END_TOLERANCE_S, face_fraction, gaps_of
from pipeline.dataset.build.tiling import SpanSignals, Tiling, tile
from pipeline.dataset.plan.media_options import crop_options, decode_options, mel_options, video_options
from pipeline.dataset.plan.scan import choice_of
from pipeline.dataset.sources.content_id import content_id_of_file
from pipeline.dataset.sources.crop_folders import crop_reader
from pipeline.dataset.sources.label_clock import annotations_of
from pipeline.dataset.sources.label_files import read_labels, with_labels
from pipeline.dataset.sources.label_fit import label_problem
from pipeline.dataset.sources.label_formats import LabelError, LabelRows
from pipeline.media.container.probe import probe
from pipeline.media.faces.detect import Detector
from pipeline.media.options import ClockSpan, PersonRule
from pipeline.media.read_crops import read_crops
from pipeline.media.read_sound import read_sound
from pipeline.media.read_video import read_video
from pipeline.records import (
    LABEL_NAMES,
    Annotations,
    Probe,
    Reason,
    Rejection,
    Segment,
    SoundOnClock,
    Span,
    Video,
    VideoOnClock,
    VideoRow,
)
from pipeline.records.quantities import count_text, percent_text
from pipeline.storage import StorageError
from pipeline.storage.download_cache import DownloadCache

MAX_FACES = 20  # of a span are listed in its row; the others are only counted
MAX_DETAIL_CHARS = 2000

Stage = Literal["source", "probe", "labels", "decode", "audio", "write"]


@dataclass(frozen=True, slots=True)
class Tools:
    """What a worker decodes and detects faces with, and its copy of the current video."""

    ffmpeg: str
    detector: Detector
    copies: DownloadCache = field(default_factory=DownloadCache)


class SpanBuild:
    """Builds one span of a stream, stage by stage.

    Durations, coverage and shares of the row are the span's own; labels are counted in the whole file.

    Attributes:
        row: what is known about the span so far.
        current_stage: the last one that was entered.
        contact_sheet: a picture of the faces and who was followed, as JPEG; empty before the video is decoded.
    """

    def __init__(self, span: Span, config: Config, tools: Tools, folder: Path) -> None:
        self.span, self.config, self.tools, self.folder = span, config, tools, folder
        self.video = video = span.video
        rate_hz = config.media.frame_rate_hz
        self.start_s = span.start_frame / rate_hz
        self.stop_s = span.stop_frame / rate_hz if span.stop_frame >= 0 else math.inf
        self.current_stage: Stage = "source"
        self.contact_sheet = b""
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
            Rejection: the stream cannot be used, or the file changed meanwhile.
            StorageError: a file cannot be read, which says nothing about the stream.
        """
        path, version = self._fetch()
        container = self._probe(path)
        annotations = self._annotations(container)
        video = self._decode(path, container)
        sound = self._decode_sound(path, container, len(video.frames))
        media, mel, sizes = self.config.media, self.config.sound, self.config.segments
        signals = SpanSignals(
            frames=video.frames,
            mjpeg_path=video.mjpeg_path,
            mel_db=sound.mel_db,
            hop_ok=sound.hop_ok,
            annotations=annotations,
            first_frame=self.first_frame,
            start_frame=self.span.start_frame,
            followed=video.followed,
        )
        tiling = Tiling(media.frame_rate_hz, mel.hop_s, sizes.num_frames, sizes.num_preroll)
        frames = []
        with self.stage("write"):
            for segment in tile(self.video, signals, tiling):
                frames.append(segment.frames[segment.num_preroll :])
                yield segment
        self.row = replace(self.row, gaps=gaps_of(np.concatenate(frames), media.frame_rate_hz))
        if _version(path) != version:
            raise Rejection("source", "changed", f"{self.video.uri} was written to while it was read")

    @property
    def first_frame(self) -> int:
        """The clock's frame that decoding begins with: the context of the first segment, if there is any."""
        return max(0, self.span.start_frame - self.config.segments.num_preroll)

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Enter a stage for the time of the block, and add its seconds to the row once it is complete.

        Decoding of pictures and sound is measured where it happens, in finer parts; writing is what is left over.
        """
        self.current_stage, begin = name, perf_counter()
        yield
        seconds = perf_counter() - begin
        if name in ("source", "labels"):
            self.row = replace(self.row, seconds_fetch=self.row.seconds_fetch + seconds)
        elif name == "probe":
            self.row = replace(self.row, seconds_probe=seconds)

    def rejected(self, stage: str, reason: Reason, detail: str) -> VideoRow:
        """The row of a stream that cannot be used; its labelled frames are counted all the same."""
        if not self.row.labelled_frames:
            labels = self._labels_without_frames()  # first, because it changes the row
            self.row = with_labels(self.row, labels)
        return replace(self.row, status="rejected", stage=stage, reason=reason, detail=detail[:MAX_DETAIL_CHARS])

    def _fetch(self) -> tuple[Path, tuple[int, int]]:
        """A local path of the video, whose content is the planned one, and the version of the file there."""
        with self.stage("source"):
            try:
                path = self.tools.copies.local_path(self.video.uri)
            except FileNotFoundError as error:
                raise Rejection("source", "missing", _missing_detail(self.video, error)) from error
            try:
                content_id, version = content_id_of_file(path, planned=self.video.content_id), _version(path)
            except OSError as error:
                raise StorageError(error.errno, f"{path} cannot be read: {error.strerror}") from error
            if content_id != self.video.content_id:
                detail = f"planned with content_id {self.video.content_id}, now it has {content_id}"
                raise Rejection("source", "changed", detail)
        return path, version

    def _probe(self, path: Path) -> Probe:
        with self.stage("probe"):
            container = probe(path, max_duration_s=self.config.media.max_duration_s)
        self.row = replace(
            self.row,
            container=container.container,
            duration_s=self._seconds_before(container.duration_s),
            video_codec=container.video_codec,
            audio_codec=container.audio_codec,
            width_px=container.width_px,
            height_px=container.height_px,
            num_source_frames=len(container.frame_times_s),
        )
        return container

    def _annotations(self, container: Probe) -> Annotations:
        try:
            rows = self._read_labels()
        except LabelError as error:
            raise Rejection("labels", "bad_labels", str(error)) from error
        except FileNotFoundError as error:
            raise Rejection("labels", "missing", f"they were there when the plan was made: {error}") from error
        annotations = annotations_of(rows, frame_times_s=container.frame_times_s)
        source = self.config.source
        delay_s = max(source.valence_delay_s, source.arousal_delay_s) if self.video.arousal_uri else 0.0
        self.row = with_labels(self.row, np.stack([annotations.rows[name] for name in LABEL_NAMES], axis=1))
        self.row = replace(self.row, label_problem=label_problem(rows, container.frame_times_s, delay_s))
        return annotations

    def _read_crops(self, path: Path, container: Probe) -> VideoOnClock:
        """Crops on the clock: those that lie beside the video, or of the faces that are detected in it."""
        clock_span = ClockSpan(self.first_frame, self.span.stop_frame, self.span.start_frame - self.first_frame)
        if self.video.crops_uri:
            return read_crops(
                crop_reader(self.video),
                container,
                directory=self.folder,
                frame_rate_hz=self.config.media.frame_rate_hz,
                crop=crop_options(self.config),
                span=clock_span,
            )
        return read_video(
            path,
            container,
            video_options(self.config, self.tools.ffmpeg),
            detector=self.tools.detector,
            directory=self.folder,
            rule=PersonRule(choice_of(self.video, self.config), self.span.anchor),
            span=clock_span,
        )

    def _decode(self, path: Path, container: Probe) -> VideoOnClock:
        """The crops of the person on the clock.

        Raises:
            Rejection: nothing was decoded, or the face is in too few frames.
        """
        try:
            with self.stage("decode"):
                video = self._read_crops(path, container)
        except Rejection as rejection:
            self.contact_sheet = rejection.contact_sheet
            if rejection.frames is not None:
                self._add_picture_gaps(rejection.frames)
            raise
        self._add_picture_gaps(video.frames)
        if len(video.frames) <= self.span.start_frame - self.first_frame:
            raise Rejection(
                "decode", "undecodable", f"no frame could be decoded from {self.start_s:.2f} s on; {video.problem}"
            )
        self.contact_sheet = video.contact_sheet
        fraction = face_fraction(video, container, self.start_s)
        self.row = _with_video(self.row, video, fraction, self._seconds_before(video.covered_s))
        if problem := container.problem or video.problem or self._shortfall():
            self.row = replace(self.row, stage="decode", reason="partial", detail=problem[:MAX_DETAIL_CHARS])
        self._require_face(fraction, int(video.frames["face_ok"][self.span.start_frame - self.first_frame :].sum()))
        return video

    def _shortfall(self) -> str:
        """By how much the decoded frames fall short of what the container promises; "" where they do not."""
        if self.row.covered_s >= self.row.duration_s - END_TOLERANCE_S:
            return ""
        return f"{self.row.duration_s:.2f} s in the container, {self.row.covered_s:.2f} s decoded"

    def _require_face(self, fraction: float, num_followed: int) -> None:
        """Raise Rejection when the face is in too few of the original frames, `num_followed` frames of the clock.

        Without any face a span is kept only where its person is known from elsewhere, and is away for this span.
        """
        min_fraction = self.config.faces.min_face_fraction
        person_is_known = self.span.anchor or self.video.crops_uri
        if fraction < min_fraction or (not num_followed and not person_is_known):
            limit = f"; faces.min_face_fraction is {min_fraction}" if fraction < min_fraction else ""
            followed = f"; followed in {count_text(num_followed, 'frame')} of the clock" if num_followed else ""
            raise Rejection("faces", "no_face", f"a face in {percent_text(fraction)} of the frames{limit}{followed}")

    def _decode_sound(self, path: Path, container: Probe, num_frames: int) -> SoundOnClock:
        with self.stage("audio"):
            sound = read_sound(
                path,
                container,
                decode_options(self.config, self.tools.ffmpeg),
                mel_options(self.config),
                num_clock_frames=num_frames,
                first_frame=self.first_frame,
            )
        self.row = replace(
            self.row,
            seconds_audio=sound.seconds_audio,
            audio_fraction=float(np.mean(sound.hop_ok)),
            silent_fraction=sound.silent_fraction,
            clipped_fraction=sound.clipped_fraction,
        )
        if sound.problem and not self.row.reason:
            self.row = replace(self.row, stage="audio", reason="partial", detail=sound.problem[:MAX_DETAIL_CHARS])
        return sound

    def _seconds_before(self, time_s: float) -> float:
        """How much of the span lies before a time of the video's clock."""
        return max(0.0, min(time_s, self.stop_s) - self.start_s)

    def _add_picture_gaps(self, frames: NDArray[np.void]) -> None:
        """Put where picture or face is missing into the row; nothing is known about the sound yet."""
        own_frames = frames[self.span.start_frame - self.first_frame :]
        self.row = replace(self.row, gaps=gaps_of(own_frames, self.config.media.frame_rate_hz, ("picture", "face")))

    def _read_labels(self) -> LabelRows:
        with self.stage("labels"):
            rows = read_labels(self.video, self.config.source)
        self.row = replace(self.row, num_label_rows=len(rows.positions), num_invalid_labels=rows.num_invalid)
        return rows

    def _labels_without_frames(self) -> NDArray[np.float32]:
        """The valid labels of a stream whose frames were not decoded; none when the label file itself is at fault."""
        try:
            rows = self._read_labels()
        except (LabelError, FileNotFoundError, Rejection):  # the row has its reason already
            return np.zeros((0, 2), np.float32)
        return rows.values[rows.valid]


def _with_video(row: VideoRow, video: VideoOnClock, fraction: float, covered_s: float) -> VideoRow:
    return replace(
        row,
        covered_s=covered_s,
        face_fraction=fraction,
        seconds_decode=video.seconds_decode,
        seconds_detect=video.seconds_detect,
        seconds_crop=video.seconds_crop,
        seconds_encode=video.seconds_encode,
        seconds_faces=video.seconds_faces,
        num_cuts=video.num_cuts,
        followed=video.followed,
        num_faces=len(video.faces),
        faces=video.faces[:MAX_FACES],
    )


def _missing_detail(video: Video, error: FileNotFoundError) -> str:
    """What to do about a video that is gone."""
    need = "crops alone have neither timestamps nor sound; " if video.crops_uri else ""
    return f"{video.uri} was there when the plan was made: {error}; {need}put it back and use --retry-rejected"


def _version(path: Path) -> tuple[int, int]:
    """What changes when a local file is written to: its size and its modification time in ns."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
