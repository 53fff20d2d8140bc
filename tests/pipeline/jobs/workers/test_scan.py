"""What a look at a file finds, when it is remembered, and when it is repeated."""

import functools
from dataclasses import replace

import pytest

from pipeline import storage
from pipeline.dataset.plan import scan
from pipeline.dataset.plan.scan import scan_video
from pipeline.dataset.plan.scan_cache import ScanCache
from pipeline.dataset.plan.shard_plan import ScanResult
from pipeline.dataset.sources.listing import list_videos
from pipeline.jobs.workers import shard_builder
from pipeline.media.container.probe import probe
from pipeline.media.ffmpeg_command import find_ffmpeg
from tests.support.preprocessing import anchor_of, config_of


def test_a_file_that_was_missing_for_a_moment_is_scanned_again(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    video = next(v for v in list_videos(config).videos if v.video_id == "person00_clip0")
    tools = {"ffmpeg": find_ffmpeg(), "load_detector": lambda: shard_builder.load_detector(config)}
    gone = replace(video, uri=str(tmp_path / "gone.mp4"))
    found = scan_video(gone, config, **tools)
    assert not found.is_known
    memory = ScanCache(config, {})
    memory.put(gone, found)
    assert memory.get(video) is None
    assert scan_video(video, config, **tools).duration_s == pytest.approx(2.0, abs=0.1)


def test_a_link_to_nothing_is_a_file_that_cannot_be_read(talkers, tmp_path):
    """Its listing has no bytes: that is what its outcome is kept by, and waiting would not help."""
    config = config_of(talkers, tmp_path)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nothing.mp4")
    link = replace(list_videos(config).videos[0], uri=str(tmp_path / "link.mp4"), size_bytes=0)
    tools = {"ffmpeg": find_ffmpeg(), "load_detector": lambda: shard_builder.load_detector(config)}
    assert scan_video(link, config, **tools) == ScanResult()


def test_a_probe_that_was_not_done_in_time_leaves_the_length_unknown(talkers, tmp_path, monkeypatch):
    config = config_of(talkers, tmp_path)
    video = next(v for v in list_videos(config).videos if v.video_id == "person00_clip0")
    monkeypatch.setattr(scan, "probe", functools.partial(probe, timeout_s=0.0))
    found = scan_video(video, config, ffmpeg=find_ffmpeg(), load_detector=lambda: pytest.fail("nothing to detect"))
    assert (found.duration_s, found.is_known) == (0.0, False)


def test_a_scan_that_timed_out_is_repeated_and_one_that_found_no_face_is_not(talkers, tmp_path):
    config = config_of(talkers, tmp_path, shards={"span_minutes": 0.01})
    hurried = config.model_copy(update={"media": replace(config.media, timeout_s=1e-3)})
    video, blank = (
        next(v for v in list_videos(config).videos if v.video_id == name) for name in ("person00_clip0", "blank")
    )
    memory = ScanCache(config, {})
    for each, settings in ((video, hurried), (blank, config)):
        load = functools.partial(shard_builder.load_detector, settings)
        found = scan_video(each, settings, ffmpeg=find_ffmpeg(), load_detector=load)
        assert (found.anchor, found.complete) == ((), each is blank)
        assert found.duration_s > 0.9
        memory.put(each, found)
    memory.save()
    assert ScanCache(config, {}).get(video) is None
    assert ScanCache(config, {}).get(blank).anchor == ()
    assert anchor_of(config, video)


def test_a_scan_is_cached_by_the_content_of_the_file(talkers, tmp_path):
    config = config_of(talkers, tmp_path, shards={"span_minutes": 0.01})
    video = next(v for v in list_videos(config).videos if v.video_id == "person00_clip0")
    broken = next(v for v in list_videos(config).videos if v.video_id == "broken")
    memory = ScanCache(config, {"ffmpeg": "9"})
    assert memory.get(video) is None
    found = ScanResult(2.0, anchor_of(config, video))
    assert found.anchor
    memory.put(video, found)
    memory.put(broken, ScanResult())
    memory.save()
    again = ScanCache(config, {"ffmpeg": "9"})
    assert again.get(video) == found
    assert again.get(replace(video, uri="/elsewhere.mp4", video_id="other")) == found
    assert again.get(broken) == ScanResult()
    assert again.get(replace(video, content_id="another")) is None
    assert ScanCache(config, {"ffmpeg": "10"}).get(video) is None  # its keyframes may be seen otherwise
    whole = config.model_copy(update={"shards": replace(config.shards, span_minutes=9.0)})
    assert ScanCache(whole, {}).get(video) == ScanResult(2.0)
    again.delete(video.content_id)
    again.save()
    assert ScanCache(config, {"ffmpeg": "9"}).get(video) is None
    assert not storage.list_files(str(tmp_path / "cache/anchors"))
