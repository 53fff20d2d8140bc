import io
import json
import subprocess
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import webdataset

from pipeline import storage
from pipeline.config import FORMAT_VERSION, Config, UsageError
from pipeline.dataset.build import attempts
from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.format import shards
from pipeline.dataset.format.dataset_info import DatasetError, read_dataset, read_index, read_videos, require_complete
from pipeline.dataset.format.samples import decode_slice
from pipeline.dataset.format.shard_file import ShardFile, encode_slice
from pipeline.jobs.new_version import retry_unfinished
from pipeline.records import ShardRecord, Span, Video, VideoRow
from tests.support.fake_dataset import make_segment


def segments(video_id="talker", number=3):
    return [make_segment(video_id, start_s=n * 1.28, seed=n) for n in range(number)]


def video_row(video_id, **changes):
    row = VideoRow(video_id, "", f"/{video_id}.mp4", video_id, "train", "ok", "", "", "", covered_s=3.84)
    return replace(row, **changes)


def build(folder, uri, name="train-00000", videos=("a", "b"), attempts=1):
    """A published shard of drawn segments."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.tar"
    with ShardFile(path) as tar:
        for video_id in videos:
            tar.add_video(segments(video_id))
    rows = tuple(video_row(video_id, num_segments=3) for video_id in videos)
    size, sha256 = path.stat().st_size, shards.sha256_of_file(path)
    record = ShardRecord(name, sha256, size, f"plan of {name}", tuple(tar.rows), rows, {"ffmpeg": "9"}, attempts)
    return shards.write_shard(path, record, uri)


def test_the_same_segments_give_the_same_bytes(tmp_path):
    first, second = (build(tmp_path / name, str(tmp_path / name / "out")) for name in ("x", "y"))
    assert first.sha256 == second.sha256


def test_offsets_lead_to_the_samples(tmp_path):
    record = build(tmp_path, str(tmp_path))
    uri = shards.shard_uri(str(tmp_path), record.name)
    for row, segment in zip(record.samples, segments("a") + segments("b"), strict=True):
        assert row.shard == "train-00000.tar"
        assert row.offset % 512 == row.size % 512 == 0
        found = decode_slice(storage.read_bytes(uri, row.offset, row.size))
        assert found.key == segment.key == row.key
        assert found.faces_mjpeg == segment.faces_mjpeg
        np.testing.assert_array_equal(found.mel_db, segment.mel_db)
    assert record.samples[0].offset == 0
    assert [row.label_ratio for row in record.samples] == [1.0] * 6


def test_tars_open_with_webdataset_and_tar(tmp_path):
    build(tmp_path, str(tmp_path))
    path = tmp_path / "shards" / "train-00000.tar"
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in samples] == [s.key for s in segments("a") + segments("b")]
    frames = np.load(io.BytesIO(samples[0]["frames.npy"]), allow_pickle=False)
    assert frames["time_s"][7] == 0
    listed = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=True)
    assert listed.stderr == ""
    assert len(listed.stdout.split()) == 6 * 6
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in members} == {
        (0, 0, 0, "iaca", "iaca", 0o444, tarfile.REGTYPE)
    }


def test_long_keys_survive(tmp_path):
    segment = make_segment("x" * 120)
    assert decode_slice(encode_slice(segment)).key == segment.key
    with ShardFile(tmp_path / "long.tar") as tar:
        tar.add_video([segment])
    (sample,) = webdataset.WebDataset(str(tmp_path / "long.tar"), shardshuffle=False, empty_check=False)
    assert sample["__key__"] == segment.key


def test_a_video_that_fails_midway_leaves_no_byte(tmp_path):
    def failing():
        yield from segments("bad", 2)
        raise RuntimeError("the third segment")

    with ShardFile(tmp_path / "with.tar") as tar:
        tar.add_video(segments("a"))
        with pytest.raises(RuntimeError, match="the third segment"):
            tar.add_video(failing())
        tar.add_video(segments("b"))
    with ShardFile(tmp_path / "without.tar") as without:
        without.add_video(segments("a"))
        without.add_video(segments("b"))
    assert [replace(row, shard="") for row in tar.rows] == [replace(row, shard="") for row in without.rows]
    assert (tmp_path / "with.tar").read_bytes() == (tmp_path / "without.tar").read_bytes()


def test_a_shard_without_samples_is_an_empty_tar(tmp_path):
    with ShardFile(tmp_path / "empty.tar"):
        pass
    assert subprocess.run(["tar", "tf", tmp_path / "empty.tar"], capture_output=True, check=True).stdout == b""


def test_a_finished_shard_counts_only_with_its_plan_and_its_bytes(tmp_path):
    uri = str(tmp_path)
    record = build(tmp_path, uri)
    assert shards.finished_shard(uri, record.name, record.plan_digest) == record
    assert shards.finished_shard(uri, record.name, "another plan") is None
    assert shards.finished_shard(uri, "train-00001", record.plan_digest) is None
    tar = tmp_path / "shards" / "train-00000.tar"
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    assert shards.finished_shard(uri, record.name, record.plan_digest) is None
    tar.unlink()
    assert shards.finished_shard(uri, record.name, record.plan_digest) is None


def test_a_dataset_is_read_as_it_was_committed(tmp_path):
    uri = str(tmp_path / "talk-123")
    records = [build(tmp_path, uri, "val-00000", ("c",)), build(tmp_path, uri)]
    config = Config(name="talk")
    info = commit_dataset(uri, config, records, {"ffmpeg": "9"})
    assert read_dataset(uri) == info
    assert info.counts == {"videos": 3, "ok": 3, "partial": 0, "rejected": 0, "shards": 2, "samples": 9} | {
        "mb": pytest.approx(sum(r.size_bytes for r in records) / 1e6, abs=1e-3)
    }
    assert [shard.name for shard in info.shards] == ["train-00000", "val-00000"]
    assert read_index(uri) == [*records[1].samples, *records[0].samples]
    assert [row.video_id for row in read_videos(uri)] == ["a", "b", "c"]
    assert info.config == config
    card = (tmp_path / "talk-123" / "README.md").read_text()
    for words in ("# talk-123", info.digest, "| train | 3 | 3 | 9 |", "webdataset", "## Face data", "| ffmpeg | 9 |"):
        assert words in card


def test_odd_file_names_are_spelt_out_in_the_table(tmp_path):
    uri = str(tmp_path / "talk-123")
    record = build(tmp_path, uri)
    odd = replace(record, videos=(video_row("a", uri="/vid\udce9o.mp4"), record.videos[1]))
    commit_dataset(uri, Config(), [odd], {})
    assert read_videos(uri)[0].uri == "/vid\\udce9o.mp4"


def test_the_loser_of_a_race_accepts_equal_bytes_and_refuses_others(tmp_path):
    uri = str(tmp_path / "talk-123")
    info = commit_dataset(uri, Config(), [build(tmp_path, uri)], {})
    assert commit_dataset(uri, Config(), [build(tmp_path, uri)], {}).digest == info.digest
    other = build(tmp_path, uri, videos=("a",))
    with pytest.raises(DatasetError, match=f"committed meanwhile with digest {info.digest[:12]}"):
        commit_dataset(uri, Config(), [other], {})
    assert read_dataset(uri) == info


def test_a_run_continues_after_another_run_deleted_its_marks(tmp_path):
    uri, span = str(tmp_path / "d"), Span(Video("a", "a.mp4", "/a.mp4", 1, "1"))
    record = build(tmp_path, uri)
    attempts.begin(uri, record.name, "slow").mark(span)
    late = attempts.begin(uri, record.name, "slow")
    assert late.crashes() == {"a@0": 1}
    info = commit_dataset(uri, Config(), [record], {})
    assert late.crashes() == {}
    late.mark(span)
    assert commit_dataset(uri, Config(), [record], {}).digest == info.digest
    assert not (tmp_path / "d/attempts").exists()


def test_runs_that_commit_at_once_find_one_dataset_and_leave_no_marks(tmp_path):
    uri = str(tmp_path / "d")
    record = build(tmp_path, uri)
    for run in "abcd":
        attempts.begin(uri, record.name, run).mark(Span(Video("a", "a.mp4", "/a.mp4", 1, "1")))
    start = threading.Barrier(4)

    def finish(_):
        start.wait()
        return commit_dataset(uri, Config(), [record], {})

    with ThreadPoolExecutor(4) as runs:
        infos = list(runs.map(finish, range(4)))
    assert {info.digest for info in infos} == {read_dataset(uri).digest}
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [
        "README.md",
        "dataset.json",
        "index.parquet",
        "quality.html",
        "shards",
        "unused.parquet",
        "videos.parquet",
    ]


def test_attempts_are_counted_and_forgotten_at_the_commit(tmp_path):
    uri = str(tmp_path / "talk-123")
    assert [attempts.begin(uri, "train-00000", "run").number for _ in range(3)] == [1, 2, 3]
    assert attempts.begin(uri, "train-00001", "run").number == 1
    commit_dataset(uri, Config(), [build(tmp_path, uri, attempts=3)], {})
    assert not (tmp_path / "attempts").exists()
    sidecar = json.loads((tmp_path / "talk-123/shards/train-00000.json").read_text())
    assert sidecar["attempts"] == 3


def test_a_committed_dataset_that_lost_a_shard_is_refused(tmp_path):
    uri = str(tmp_path / "talk-123")
    info = commit_dataset(uri, Config(), [build(tmp_path, uri)], {})
    require_complete(info)
    with (tmp_path / "talk-123/shards/train-00000.tar").open("ab") as tar:
        tar.write(b"x")
    with pytest.raises(DatasetError, match=r"train-00000\.tar has \d+ bytes; dataset\.json says"):
        require_complete(info)
    (tmp_path / "talk-123/shards/train-00000.tar").unlink()
    with pytest.raises(DatasetError, match=r"train-00000\.tar is missing"):
        require_complete(info)


def test_what_is_no_dataset_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"is not a finished dataset: it has no dataset\.json"):
        read_dataset(str(tmp_path))
    uri = str(tmp_path / "talk-123")
    commit_dataset(uri, Config(), [build(tmp_path, uri)], {})
    path = tmp_path / "talk-123/dataset.json"
    path.write_text(path.read_text().replace(f'"format_version": {FORMAT_VERSION}', '"format_version": 99'))
    with pytest.raises(UsageError, match=f"format version 99, this program reads {FORMAT_VERSION}"):
        read_dataset(uri)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format_version": %d}' % FORMAT_VERSION, b"\xff"])
def test_a_damaged_marker_is_named(tmp_path, content):
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(DatasetError, match=r"dataset\.json is damaged or of another program"):
        read_dataset(str(tmp_path))


def test_a_damaged_table_is_named(tmp_path):
    uri = str(tmp_path / "talk-123")
    commit_dataset(uri, Config(), [build(tmp_path, uri)], {})
    path = tmp_path / "talk-123/index.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DatasetError, match=r"index\.parquet is damaged or of another program"):
        read_index(uri)
    path.write_bytes((tmp_path / "talk-123/videos.parquet").read_bytes())
    with pytest.raises(DatasetError, match=r"index\.parquet is damaged or of another program"):
        read_index(uri)


def test_sidecars_of_another_version_count_for_nothing(tmp_path):
    record = build(tmp_path, str(tmp_path))
    sidecar = shards.shard_uri(str(tmp_path), record.name, "json")
    assert shards.read_sidecar(sidecar) == record
    storage.publish_bytes(b'{"name": "train-00000"}', sidecar)
    assert shards.read_sidecar(sidecar) is None
    retry_unfinished(str(tmp_path))
    assert not storage.exists(sidecar)
