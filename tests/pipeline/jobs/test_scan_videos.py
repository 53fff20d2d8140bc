"""Scans of files before the plan, on a real Ray."""

from dataclasses import replace

import pytest

from pipeline.config import UsageError
from pipeline.dataset.plan.shard_plan import ScanResult
from pipeline.dataset.sources.listing import list_videos
from pipeline.jobs.scan_videos import scan_videos
from pipeline.jobs.workers.pool import WorkerPool
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
