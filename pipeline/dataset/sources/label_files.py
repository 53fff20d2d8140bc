"""The label files of one stream, read as they were when the plan was made, and their sums for the stream's row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline import storage
from pipeline.config.dataset_sections import SourceConfig
from pipeline.dataset.sources.content_id import content_id_of_bytes
from pipeline.dataset.sources.label_formats import LabelError, LabelRows, label_text, parse, parse_gold
from pipeline.records import Rejection, Video, VideoRow

MAX_BYTES = 128 << 20  # a row for each of 60 frames a second, for twelve hours, takes 80 MB


def read_labels(video: Video, source: SourceConfig) -> LabelRows:
    """Read the rows of a stream's label file, or of its two; none when it has no label file.

    Raises:
        LabelError: the file is not of the grammar, or too large.
        FileNotFoundError: it is gone.
        Rejection: ("labels", "changed") when it has other bytes than the plan was made for.
    """
    uris = [uri for uri in (video.labels_uri, video.arousal_uri) if uri]
    if not uris:
        return parse("frame,valence,arousal", name="")
    files = [_read(uri, planned) for uri, planned in zip(uris, video.labels_content_id.split("+"), strict=True)]
    content_id = "+".join(map(content_id_of_bytes, files))
    if content_id != video.labels_content_id:
        planned = video.labels_content_id
        raise Rejection("labels", "changed", f"{uris[0]}: planned with content_id {planned}, now it has {content_id}")
    texts = [label_text(data, name=name) for data, name in zip(files, uris, strict=True)]
    if len(texts) == 1:
        return parse(texts[0], name=uris[0])
    return parse_gold(texts, names=uris, delays_s=(source.valence_delay_s, source.arousal_delay_s))


def _read(uri: str, content_id: str) -> bytes:
    """Read the file as long as it was when it had `content_id`, and one byte more, by which a longer one is noticed."""
    size = int(content_id.partition("-")[0])
    if size > MAX_BYTES:
        raise LabelError(f"{uri}: {size} bytes; allowed are {MAX_BYTES}, far more than a row for each frame takes")
    return storage.read_bytes(uri, 0, size + 1)


def with_labels(row: VideoRow, values: NDArray[np.float32]) -> VideoRow:
    """Give the row of a stream the number and the sums of its (n, 2) labels."""
    valence, arousal = values.astype(np.float64).T
    return replace(
        row,
        labelled_frames=len(values),
        valence_sum=float(valence.sum()),
        valence_squares=float(valence @ valence),
        arousal_sum=float(arousal.sum()),
        arousal_squares=float(arousal @ arousal),
    )
