"""Label files as they are read for a stream: their bytes are those of the plan, and not more than memory can take."""

from __future__ import annotations

import tracemalloc

import pytest

from pipeline import storage
from pipeline.config.dataset_sections import SourceConfig
from pipeline.dataset.sources import label_files
from pipeline.dataset.sources.content_id import CHUNK_BYTES, content_id_of_bytes, content_ids
from pipeline.dataset.sources.label_formats import LabelError
from pipeline.records import Rejection, Video

ROW = b"0.1,0.2\n"


def video_with(path, content_id):
    return Video("a", "a.mp4", "/a.mp4", 1, "1", labels_uri=str(path), labels_content_id=content_id)


def test_a_label_file_that_is_too_large_is_refused_unread(tmp_path):
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(label_files.MAX_BYTES + 1)  # sparse
    stream = video_with(path, f"{label_files.MAX_BYTES + 1}-0")
    tracemalloc.start()
    with pytest.raises(LabelError, match=rf"a\.txt: {label_files.MAX_BYTES + 1} bytes; allowed"):
        label_files.read_labels(stream, SourceConfig())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_a_label_file_that_grew_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"valence,arousal\n" + ROW)
    stream = video_with(path, content_id_of_bytes(path.read_bytes()))
    assert len(label_files.read_labels(stream, SourceConfig()).positions) == 1
    with path.open("ab") as file:
        file.truncate(100 << 20)
    tracemalloc.start()
    with pytest.raises(Rejection, match="changed"):
        label_files.read_labels(stream, SourceConfig())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_the_content_id_of_a_large_label_file_is_found_in_pieces(tmp_path):
    path = tmp_path / "labels" / "a.txt"
    path.parent.mkdir()
    path.write_bytes(ROW * (4 * CHUNK_BYTES // len(ROW)) + b"the end")
    tracemalloc.start()
    found = content_ids(storage.list_files(str(path.parent)), str(tmp_path / "root"), whole=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[str(path)] == content_id_of_bytes(path.read_bytes())
    assert peak < 3 * CHUNK_BYTES
