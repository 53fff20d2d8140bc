from dataclasses import replace

import pytest

from pipeline.config import Config
from pipeline.dataset.plan.forecast import forecast, plan_text
from pipeline.dataset.plan.shard_plan import ScanResult, bytes_per_s, plan_shards
from pipeline.records import UnusedInput
from tests.pipeline.dataset.plan.test_shard_plan import video


def test_a_forecast_rests_on_the_durations():
    videos = [video("a"), video("b"), video("broken")]
    scans = {"a": ScanResult(10.0), "b": ScanResult(30.0), "broken": ScanResult()}
    expected = forecast(videos, scans, Config())
    assert expected.bytes == pytest.approx(40 * bytes_per_s(Config()))
    assert (expected.duration_s, expected.num_unreadable) == (40.0, 1)
    assert forecast([], {}, Config()).bytes == 0


def test_the_summary_of_the_plan():
    videos = [video("a"), replace(video("b"), group="a", labels_uri="/b.csv"), video("c", "test")]
    scans = {"a": ScanResult(36.0), "b": ScanResult(3600.0), "c": ScanResult()}
    plans = plan_shards(videos, scans, Config())
    ignored = [UnusedInput("file", f"notes{n}.pdf", f"notes{n}.pdf") for n in range(22)]
    text = plan_text(plans, ignored, forecast(videos, scans, Config()))
    assert text[0] == f"3 videos, 1 with labels, in {len(plans)} shards"
    assert "long videos are cut: 9 spans in all" in text
    assert f"train 2 videos of 1 group in {len(plans) - 1} shards, 1.01 h" in text
    assert "val   0 videos of 0 groups in 0 shards, 0.0 s" in text
    assert "test  1 video of 1 group in 1 shard, 0.0 s" in text
    assert any("24.2 min of one core, from 1.01 h of video" in line for line in text)
    assert "1 file cannot be read as video and will be a row with its reason" in text
    assert text[-2:] == ("ignored: notes19.pdf", "ignored: 2 more")


def test_a_small_source_has_no_zeros():
    videos = [video("a")]
    scans = {"a": ScanResult(4.2)}
    text = plan_text(plan_shards(videos, scans, Config()), [], forecast(videos, scans, Config()))
    assert text[0] == "1 video, 0 with labels, in 1 shard"
    assert "about 0.6 MB and 1.7 s of one core, from 4.2 s of video" in text


def test_room_for_the_largest_video_of_a_bucket_is_asked_for():
    sizes = {"a": 5_000_000, "b": 70_000_000}
    videos = [replace(video(name), uri=f"s3://bucket/{name}", size_bytes=size) for name, size in sizes.items()]
    scans = {"a": ScanResult(36.0), "b": ScanResult(36.0)}
    (line,) = (
        line
        for line in plan_text(plan_shards(videos, scans, Config()), [], forecast(videos, scans, Config()))
        if "own disk" in line
    )
    assert line.startswith("a worker keeps one video at a time on its own disk: up to 70 MB in /")
