"""The tar of a shard, to which samples are appended by whole videos: the same segments give the same bytes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.format import samples
from pipeline.records import NUM_LABEL_BINS, SampleRow, Segment

_OWNER = "iaca"


def encode_slice(segment: Segment) -> bytes:
    """The tar blocks of one sample, without the end-of-archive mark; `samples.decode_slice` reads them back.

    GNU format is USTAR with names beyond 100 characters.
    """
    import webdataset  # it imports torch, which a reader of the index alone does not need

    buffer = io.BytesIO()
    writer = webdataset.TarWriter(buffer, user=_OWNER, group=_OWNER, mtime=0, encoder=False, format="GNU_FORMAT")
    writer.write({"__key__": segment.key, **samples.encode(segment)})
    size = writer.tarstream.offset
    writer.close()
    return buffer.getvalue()[:size]


class ShardFile:
    """A tar that grows by whole videos: the samples of one that fails midway are taken back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[SampleRow] = []
        self.label_grid = np.zeros((NUM_LABEL_BINS, NUM_LABEL_BINS), np.int64)  # of all samples
        self._file = path.open("wb")

    def __enter__(self) -> ShardFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        end = self._file.tell() + 2 * tarfile.BLOCKSIZE
        self._file.truncate(end + -end % tarfile.RECORDSIZE)
        self._file.close()

    def add_video(self, segments: Iterable[Segment]) -> list[SampleRow]:
        """Append the samples of one video, all of them or, when an exception passes, none."""
        start, rows, label_grid = self._file.tell(), [], self.label_grid.copy()
        try:
            rows += [self._add(segment) for segment in segments]
        except BaseException:
            self._file.seek(start)
            self._file.truncate()
            self.label_grid = label_grid
            raise
        self.rows += rows
        return rows

    def add_slice(self, data: bytes, row: SampleRow) -> None:
        """Append a sample of another shard as it is; `row` says what it holds.

        Raises:
            SampleError: the bytes are not that sample.
        """
        segment = samples.decode_slice(data)
        if segment.key != row.key:
            raise samples.SampleError(f"{row.shard} holds {segment.key} where its index says {row.key}")
        self.rows.append(replace(row, shard=self.path.name, offset=self._file.tell()))
        self._file.write(data)
        self.label_grid += label_grid_of(segment)

    def _add(self, segment: Segment) -> SampleRow:
        offset, data = self._file.tell(), encode_slice(segment)
        self._file.write(data)
        self.label_grid += label_grid_of(segment)
        return _sample_row(segment, self.path.name, offset, len(data))


def label_grid_of(segment: Segment) -> NDArray[np.int64]:
    """(NUM_LABEL_BINS, NUM_LABEL_BINS) own labelled frames of a segment by valence, then arousal, from -1 to 1."""
    labels = segment.labels[segment.num_preroll :]
    known = labels[~np.isnan(labels).any(axis=1)]
    span = (-1.0, 1.0)
    grid, _, _ = np.histogram2d(known[:, 0], known[:, 1], bins=NUM_LABEL_BINS, range=[span, span])
    return grid.astype(np.int64)


def _sample_row(segment: Segment, shard: str, offset: int, size: int) -> SampleRow:
    own, labels = segment.frames[segment.num_preroll :], segment.labels[segment.num_preroll :]
    video, face, audio = (float(own[name].mean()) for name in ("video_ok", "face_ok", "audio_ok"))
    return SampleRow(
        key=segment.key,
        shard=shard,
        offset=offset,
        size=size,
        video_id=segment.video_id,
        person=segment.person,
        group=segment.group,
        split=segment.split,
        start_s=segment.start_s,
        num_preroll=segment.num_preroll,
        num_frames=segment.num_frames,
        video_ratio=video,
        face_ratio=face,
        audio_ratio=audio,
        label_ratio=float((labels == labels).all(axis=1).mean()),
    )
