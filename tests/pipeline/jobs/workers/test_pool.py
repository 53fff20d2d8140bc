"""Looks at files before the plan, on a real Ray."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import Config, UsageError, load
from pipeline.dataset.plan.shard_plan import ScanResult
from pipeline.dataset.sources.listing import list_videos
from pipeline.jobs.workers import pool
from tests.support.preprocessing import config_of


def test_files_are_looked_at_in_parallel_and_only_once(talkers, tmp_path, local_ray, monkeypatch, capsys):
    config = config_of(talkers, tmp_path)
    videos = list_videos(config).videos
    facts = pool.scan_videos(videos, config, {"ffmpeg": "9"})
    assert {key: pytest.approx(found.duration_s, abs=0.1) for key, found in facts.items()} == {
        "blank": 1.0,
        "broken": 0.0,
        "voice": 0.0,
        **{f"person0{n}_clip{m}": 2.0 for n in range(3) for m in range(2)},
    }
    assert '"done": 9, "total": 9' in capsys.readouterr().out

    def refuse(*_):
        raise AssertionError("it was known")

    monkeypatch.setattr(pool, "_connect", refuse)
    assert pool.scan_videos(videos, config, {"ffmpeg": "9"}) == facts


def test_what_upsets_a_look_is_told_and_left_to_its_build(talkers, tmp_path, local_ray, capsys):
    config = config_of(talkers, tmp_path)
    videos = list_videos(config).videos
    odd = replace(videos[0], uri="ftp://somewhere/video.mp4", content_id="odd")
    assert pool.scan_videos([odd], config, {"ffmpeg": "9"}) == {odd.key: ScanResult()}
    assert "ftp://somewhere/video.mp4: looking at it failed (" in capsys.readouterr().out
    assert "odd" not in (tmp_path / "cache/content_ids.json").read_text()
    assert not list(tmp_path.glob("cache/durations*"))


def test_a_storage_that_fails_stops_the_look(talkers, tmp_path, local_ray):
    config = config_of(talkers, tmp_path)
    (tmp_path / "folder.mp4").mkdir()
    video = replace(list_videos(config).videos[0], uri=str(tmp_path / "folder.mp4"), content_id="a folder")
    with pytest.raises(OSError, match="is a folder where a file is needed"):
        pool.scan_videos([video], config, {"ffmpeg": "9"})


def test_a_detector_that_cannot_be_fetched_stops_the_look(talkers, tmp_path, local_ray):
    faces = {"detector": "yunet", "model_uri": str(tmp_path / "gone.onnx"), "model_sha256": "0" * 64}
    config = config_of(talkers, tmp_path, faces=faces, shards={"span_minutes": 0.01})
    video = next(v for v in list_videos(config).videos if v.video_id == "person00_clip0")
    with pytest.raises(UsageError, match=r"gone\.onnx cannot be read"):
        pool.scan_videos([video], config, {"ffmpeg": "9"})


def test_an_answer_is_told_before_the_next_is_there(tmp_path, local_ray):
    class Slow:  # in here, for Ray to send it with its code: workers do not know this module
        def __call__(self, row):
            time.sleep(float(row["seconds"]))
            Path(row["mark"]).touch()
            return {"mark": row["mark"]}

    marks = [str(tmp_path / "first"), str(tmp_path / "second")]
    items = [{"seconds": seconds, "mark": mark} for seconds, mark in zip(("0", "3"), marks, strict=True)]
    one = load(None, {"cluster": {"num_workers": 1}})
    told = pool.answers(Slow, (), items, one, pool.Limits(num_retries=0, idle_timeout_s=60))
    assert next(told) == {"mark": marks[0]}
    assert not Path(marks[1]).exists()
    assert list(told) == [{"mark": marks[1]}]


def test_there_is_an_actor_for_each_place_and_one_where_places_are_yet_to_come():
    free, two = Config(), load(None, {"cluster": {"num_workers": 2}})
    assert pool.num_actors({"CPU": 8.0}, 5, free, use_gpu=False) == 5
    assert pool.num_actors({"CPU": 8.0}, 50, free, use_gpu=False) == 8
    assert pool.num_actors({"CPU": 8.0}, 50, two, use_gpu=False) == 2
    assert pool.num_actors({"CPU": 8.0, "GPU": 1.0}, 50, free, use_gpu=True) == 1
    assert pool.num_actors({"memory": 1e9}, 50, free, use_gpu=False) == 1
    with pytest.raises(UsageError, match="Ray sees no GPU"):
        pool.num_actors({"CPU": 8.0}, 50, free, use_gpu=True)
