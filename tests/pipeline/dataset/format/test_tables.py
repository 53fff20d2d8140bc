import subprocess
import sys
from dataclasses import dataclass, replace

import pyarrow.parquet as pq
import pytest

from pipeline.dataset.format.tables import from_dict, from_parquet, to_parquet
from pipeline.records import Gap, SampleRow, VideoRow, VisibleFace

FACE = VisibleFace(0.0, 2.0, 50, 0, 0.9, 1.0, 2.0, 3.0, 4.0, "another person is visible for longer")
ROW = VideoRow(
    "a", "", "/a.mp4", "a", "train", "ok", "", "", "", gaps=(Gap("face", 1.0, 2.0, 3, 4),), faces=(FACE,) * 2
)


def test_records_within_records_come_back(tmp_path):
    rows = [ROW, replace(ROW, gaps=(), faces=())]
    (tmp_path / "videos.parquet").write_bytes(to_parquet(rows, VideoRow))
    assert from_parquet((tmp_path / "videos.parquet").read_bytes(), VideoRow) == rows
    table = pq.read_table(tmp_path / "videos.parquet").to_pylist()
    assert table[0]["gaps"] == [{"missing": "face", "start_s": 1.0, "stop_s": 2.0, "first_frame": 3, "last_frame": 4}]
    assert table[1]["faces"] == []


def test_a_table_without_rows_has_its_columns():
    assert from_parquet(to_parquet([], VideoRow), VideoRow) == []


def test_columns_that_an_older_program_did_not_know_have_their_defaults():
    @dataclass(frozen=True)
    class OldRow:
        video_id: str
        person: str
        uri: str
        group: str
        split: str
        status: str
        stage: str
        reason: str
        detail: str

    old = OldRow("a", "", "/a.mp4", "a", "train", "ok", "", "", "")
    (row,) = (from_dict(VideoRow, vars(old)),)
    assert row == replace(ROW, gaps=(), faces=())


def test_bytes_that_are_not_unicode_are_escaped_and_damage_is_reported_in_one_line():
    (row,) = from_parquet(to_parquet([replace(ROW, uri="/\udcff.mp4")], VideoRow), VideoRow)
    assert row.uri == "/\\udcff.mp4"
    with pytest.raises(ValueError, match="magic bytes not found"):
        from_parquet(b"no table", SampleRow)
    with pytest.raises(ValueError, match="its columns are video_id, person, uri"):
        from_parquet(to_parquet([ROW], VideoRow), SampleRow)


COUNT_THREADS = """
import os, sys
import pyarrow.parquet
from pipeline.dataset.format.tables import from_parquet
from pipeline.records import VideoRow
data = open(sys.argv[1], "rb").read()
before = len(os.listdir("/proc/self/task"))
rows = from_parquet(data, VideoRow)
print(len(rows), len(os.listdir("/proc/self/task")) - before)
"""


def test_reading_a_table_leaves_no_thread_that_could_hold_a_python_object_when_the_process_ends(tmp_path):
    (tmp_path / "videos.parquet").write_bytes(to_parquet([ROW] * 3, VideoRow))
    command = [sys.executable, "-c", COUNT_THREADS, str(tmp_path / "videos.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["3", "0"], done.stderr
