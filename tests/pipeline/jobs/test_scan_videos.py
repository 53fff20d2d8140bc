"""Scans of files before the plan, on a real Ray."""

import os
import shutil
import signal
from dataclasses import replace

import pytest

from pipeline.config import UsageError
from pipeline.dataset.plan.shard_plan import ScanResult
from pipeline.dataset.sources.listing import list_videos
from pipeline.jobs import preprocess
from pipeline.jobs.scan_videos import scan_videos
from pipeline.jobs.workers.pool import CallFailure, WorkerPool
from tests.support.fake_pool import FakePool
from tests.support.preprocessing import config_of


def test_files_are_scanned_in_parallel_and_only_once(talkers, tmp_path, local_ray, capsys):
    config = config_of(talkers, tmp_path)
    videos = list_videos(config).videos
    scans = scan_videos(videos, config, {"ffmpeg": "9"}, WorkerPool(config))
    assert {key: pytest.approx(scan.duration_s, abs=0.1) for key, scan in scans.items()} == {
        "blank": 1.0,
        "broken": 0.0,
        "voice": 0.0,
        **{f"person0{n}_clip{m}": 2.0 for n in range(3) for m in range(2)},
    }
    assert '"done": 9, "total": 9' in capsys.readouterr().out
    idle = FakePool()
    assert scan_videos(videos, config, {"ffmpeg": "9"}, idle) == scans
    assert idle.started == []


def test_a_scan_that_fails_is_reported_and_left_to_its_build(talkers, tmp_path, local_ray, capsys):
    config = config_of(talkers, tmp_path)
    videos = list_videos(config).videos
    odd = replace(videos[0], uri="ftp://somewhere/video.mp4", content_id="odd")
    assert scan_videos([odd], config, {"ffmpeg": "9"}, WorkerPool(config)) == {odd.key: ScanResult()}
    assert "ftp://somewhere/video.mp4: the scan failed (" in capsys.readouterr().out
    assert "odd" not in (tmp_path / "cache/content_ids.json").read_text()
    assert not list(tmp_path.glob("cache/durations*"))


def test_a_missing_file_is_distinguished_from_one_that_cannot_be_read(talkers, tmp_path, local_ray, capsys):
    config = config_of(talkers, tmp_path)
    videos = {video.video_id: video for video in list_videos(config).videos}
    gone = replace(videos["person00_clip0"], uri=str(tmp_path / "gone.mp4"))
    scans = scan_videos([gone, videos["broken"]], config, {"ffmpeg": "9"}, WorkerPool(config))
    assert {key: scan.is_known for key, scan in scans.items()} == {gone.key: False, "broken": True}
    output = capsys.readouterr().out
    assert "gone.mp4: it could not be scanned now" in output
    assert "broken.mp4" not in output


def test_a_file_that_kills_its_scanner_each_time_cannot_be_read(talkers, tmp_path, local_ray, monkeypatch):
    """As its build would be rejected; only what another scan may mend is unknown."""

    def kill_this_process(streams, config):  # in here, for Ray to send it with its code
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("pipeline.jobs.scan_videos.scan_file", kill_this_process)
    config = config_of(talkers, tmp_path)
    video = list_videos(config).videos[0]
    assert scan_videos([video], config, {"ffmpeg": "9"}, WorkerPool(config)) == {video.key: ScanResult()}


def test_a_scan_that_ran_out_of_memory_leaves_the_length_unknown(talkers, tmp_path):
    """Other processes may have taken it."""
    config = config_of(talkers, tmp_path)
    video = list_videos(config).videos[0]
    pool = FakePool(lambda file: CallFailure("out of memory", is_transient=True))
    assert not scan_videos([video], config, {"ffmpeg": "9"}, pool)[video.key].is_known


def test_balanced_splits_need_files_that_are_missing_for_now(talkers, tmp_path, local_ray, monkeypatch):
    """Counted as 0 s, such a file would give the other groups other splits than the next run gives them."""
    shutil.copytree(talkers, tmp_path / "source")
    config = config_of(tmp_path / "source", tmp_path / "root")
    unnamed = config.model_copy(update={"source": replace(config.source, manifest="")})
    prepare = preprocess.prepare

    def prepare_then_lose(config):
        prepared = prepare(config)
        (tmp_path / "source/videos/person01_clip0.mp4").unlink()
        return prepared

    monkeypatch.setattr(preprocess, "prepare", prepare_then_lose)
    with pytest.raises(RuntimeError, match=r"^1 file could not be scanned now \(person01_clip0\.mp4\).*method hash"):
        preprocess.run(unnamed)
    assert not (tmp_path / "root/datasets").exists()


def test_a_storage_that_fails_stops_the_scan(talkers, tmp_path, local_ray):
    config = config_of(talkers, tmp_path)
    (tmp_path / "folder.mp4").mkdir()
    video = replace(list_videos(config).videos[0], uri=str(tmp_path / "folder.mp4"), content_id="a folder")
    with pytest.raises(OSError, match="is a folder where a file is needed"):
        scan_videos([video], config, {"ffmpeg": "9"}, WorkerPool(config))


def test_a_detector_that_cannot_be_fetched_stops_the_scan(talkers, tmp_path, local_ray):
    faces = {"detector": "yunet", "model_uri": str(tmp_path / "gone.onnx"), "model_sha256": "0" * 64}
    config = config_of(talkers, tmp_path, faces=faces, shards={"span_minutes": 0.01})
    video = next(v for v in list_videos(config).videos if v.video_id == "person00_clip0")
    with pytest.raises(UsageError, match=r"gone\.onnx cannot be read"):
        scan_videos([video], config, {"ffmpeg": "9"}, WorkerPool(config))
