"""One shard by one worker: whose fault a failure is, what a span holds, and what changed since the plan."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import storage
from pipeline.dataset.build import attempts
from pipeline.dataset.format import shards
from pipeline.dataset.format.samples import decode_slice
from pipeline.dataset.plan.shard_plan import ScanResult, plan_shards
from pipeline.dataset.sources.content_id import content_id_of_bytes, content_id_of_file
from pipeline.jobs.workers import shard_builder
from tests.support.preprocessing import anchor_of, builder_of, config_of, plans_of


@pytest.mark.skipif(sys.platform != "linux", reason="a policy of Linux")
def test_a_worker_and_its_decoders_take_long_turns(talkers, tmp_path, monkeypatch):
    policies, popen = [], subprocess.Popen

    def started(*args, **options):
        process = popen(*args, **options)
        policies.append(os.sched_getscheduler(process.pid))
        return process

    monkeypatch.setattr(subprocess, "Popen", started)
    config = config_of(talkers, tmp_path)
    plan = plans_of(config, "person00_clip0")[0]
    assert builder_of(config, str(tmp_path / "d")).build(plan).samples
    assert policies[-1] == os.sched_getscheduler(0) == os.SCHED_BATCH


def span_with(span, **changes):
    return replace(span, video=replace(span.video, **changes))


def test_a_file_that_changed_since_the_plan_is_a_row(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    plan = next(p for p in plans_of(config) if p.split == "test")
    stale = replace(plan, spans=(span_with(plan.spans[0], content_id="1-0"), *plan.spans[1:]))
    record = builder_of(config, str(tmp_path / "d")).build(stale)
    assert (record.videos[0].status, record.videos[0].stage, record.videos[0].reason) == (
        "rejected",
        "source",
        "changed",
    )
    gone = replace(plan, spans=(span_with(plan.spans[0], uri=str(tmp_path / "gone.mp4")),))
    record = builder_of(config, str(tmp_path / "d")).build(gone)
    assert (record.videos[0].reason, record.samples) == ("missing", ())


def test_a_file_planned_with_all_of_its_bytes_is_recognised_by_them(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    plan = plans_of(config, "person00_clip0")[0]
    path = Path(plan.spans[0].video.uri)
    whole_id = content_id_of_file(path, planned="size-ends-whole")
    planned = replace(plan, spans=(span_with(plan.spans[0], content_id=whole_id),))
    assert builder_of(config, str(tmp_path / "d")).build(planned).videos[0].status == "ok"
    other = replace(plan, spans=(span_with(plan.spans[0], content_id=f"{whole_id}0"),))
    assert builder_of(config, str(tmp_path / "e")).build(other).videos[0].reason == "changed"


def test_an_error_of_one_video_leaves_its_neighbours(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    worker = builder_of(config, str(tmp_path / "d"))
    worker.tools = replace(worker.tools, detector=FakeDetectorThatFailsOnce(worker.tools.detector))
    first, second = worker.build(plans_of(config, "person00_clip0", "person00_clip1")[0]).videos
    assert (first.status, first.stage, first.reason) == ("rejected", "decode", "error")
    assert first.detail == "a defect of the program, please report it: ZeroDivisionError: a bug"
    assert second.status == "ok"


class FakeDetectorThatFailsOnce:
    """A detector with a bug that shows at its first picture."""

    def __init__(self, detector):
        self.detector, self.calls = detector, 0

    def detect(self, picture):
        self.calls += 1
        if self.calls == 1:
            raise ZeroDivisionError("a bug")
        return self.detector.detect(picture)


def test_a_full_disk_is_not_the_videos_fault(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    worker = builder_of(config, str(tmp_path / "d"))
    worker.tools = replace(worker.tools, detector=FakeDetectorOnAFullDisk())
    (plan,) = plans_of(config, "person00_clip0")
    with pytest.raises(OSError, match="No space left"):
        worker.build(plan)
    assert not storage.list_files(str(tmp_path / "d/shards"))


def test_a_storage_that_fails_is_not_the_videos_fault(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    worker = builder_of(config, str(tmp_path / "d"))
    (plan,) = plans_of(config, "person00_clip0")
    for field in ("uri", "labels_uri"):
        (tmp_path / field).mkdir()
        lost = replace(plan, spans=(span_with(plan.spans[0], **{field: str(tmp_path / field)}),))
        with pytest.raises(OSError, match="is a folder where a file is needed"):
            worker.build(lost)
    assert not storage.list_files(str(tmp_path / "d/shards"))


def test_what_stops_a_shard_is_reported_to_the_driver(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/shards").write_text("a file where a folder should be")
    worker = builder_of(config, str(tmp_path / "d"))
    (plan,) = plans_of(config, "broken")
    result = worker(plan)
    assert result.record is None
    assert f"{plan.name}: " in result.error
    assert "which is a file and not a folder" in result.error


class FakeDetectorOnAFullDisk:
    """A detector that meets what writing a crop would meet."""

    def detect(self, picture):
        raise OSError(28, "No space left on device")


def test_a_worker_with_other_tools_is_refused(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    with pytest.raises(RuntimeError, match=r"this worker has .* the driver .*'ffmpeg': '1'.*install the same"):
        shard_builder.ShardBuilder(config, str(tmp_path), {"ffmpeg": "1"})


def test_what_kills_two_workers_is_left_alone_and_its_neighbours_are_not(talkers, undisturbed, tmp_path):
    config = config_of(talkers, tmp_path, shards={"max_videos": 3})
    (plan,) = plans_of(config, "person00_clip0", "person00_clip1", "broken")
    calm = builder_of(config, str(tmp_path / "calm")).build(plan)
    uri, worker_crash = str(tmp_path / "d"), plan.spans[1]
    for run in ("another driver", "another driver", "driver"):
        attempts.begin(uri, plan.name, run).mark(worker_crash)
    worker = shard_builder.ShardBuilder(config, uri, shard_builder.find_toolchain(config), "driver")
    once = worker.build(plan)
    assert once.sha256 == calm.sha256
    assert [row.attempts for row in once.videos] == [1, 2, 1]
    attempts.begin(uri, plan.name, "driver").mark(worker_crash)
    twice = worker.build(plan)
    row = twice.videos[1]
    assert (row.video_id, row.status, row.stage, row.reason) == ("person00_clip0", "rejected", "worker", "worker_crash")
    assert (row.attempts, row.labelled_frames) == (2, calm.videos[1].labelled_frames)
    assert "2 workers died" in row.detail
    assert [outcome(row) for row in (twice.videos[0], twice.videos[2])] == [
        outcome(row) for row in (calm.videos[0], calm.videos[2])
    ]
    assert slices(uri, twice) == {
        key: data for key, data in slices(str(tmp_path / "calm"), calm).items() if "clip1" in key
    }


def outcome(row):
    return row.video_id, row.status, row.reason, row.num_segments, row.face_fraction


def slices(uri, record):
    tar = shards.shard_uri(uri, record.name)
    return {row.key: storage.read_bytes(tar, row.offset, row.size) for row in record.samples}


def test_spans_of_a_video_hold_what_the_whole_would_hold(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    (whole,) = plans_of(config, "person00_clip0")
    (only,) = whole.spans
    scans = {only.video.key: ScanResult(2.0, anchor_of(config, only.video))}
    cut = config.model_copy(update={"shards": replace(config.shards, span_minutes=0.01)})
    (plan,) = plan_shards([only.video], scans, cut)
    assert [(span.start_frame, span.stop_frame, bool(span.anchor)) for span in plan.spans] == [
        (0, 32, True),
        (32, -1, True),
    ]
    toolchain = shard_builder.find_toolchain(config)
    records = [
        shard_builder.ShardBuilder(config, str(tmp_path / name), toolchain).build(each)
        for name, each in (("whole", whole), ("cut", plan))
    ]
    pairs = zip(
        *(slices(str(tmp_path / name), r).items() for name, r in zip(("whole", "cut"), records, strict=True)),
        strict=True,
    )
    for (key, data), (same_key, other) in pairs:
        first, second = decode_slice(data), decode_slice(other)
        assert key == same_key
        for name in ("time_s", "source_index", "video_ok", "audio_ok"):
            np.testing.assert_array_equal(first.frames[name], second.frames[name])
        np.testing.assert_array_equal(first.mel_db, second.mel_db)
        np.testing.assert_array_equal(first.labels, second.labels)
        np.testing.assert_array_equal(first.annotations, second.annotations)
        both = first.frames["face_ok"] & second.frames["face_ok"]
        assert both.mean() > 0.9 * first.frames["face_ok"].mean()
    from pipeline.dataset.build.merge import merge_spans

    (row,) = merge_spans(records[1].videos)
    (known,) = records[0].videos
    assert (row.num_spans, row.num_segments, row.labelled_frames) == (2, 2, known.labelled_frames)
    assert (row.status, row.reason) == ("ok", "")
    assert row.covered_s == pytest.approx(known.covered_s)
    assert row.duration_s == pytest.approx(known.duration_s)
    assert storage.exists(str(tmp_path / "cut/sheets/person00_clip0_000001280.jpg"))


class FakeDetectorThatTouches:
    """A detector during whose work somebody appends to the video."""

    def __init__(self, detector, path):
        self.detector, self.path = detector, path

    def detect(self, picture):
        with self.path.open("ab") as file:
            file.write(b"more")
        return self.detector.detect(picture)


def test_a_file_that_is_written_to_meanwhile_is_a_row(talkers, tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("person00_clip0.mp4", "person00_clip1.mp4"):
        (tmp_path / "videos" / name).write_bytes((talkers / "videos" / name).read_bytes())
    config = config_of(talkers, tmp_path)
    config = config.model_copy(update={"source": replace(config.source, videos=str(tmp_path / "videos"))})
    (plan,) = plans_of(config)
    worker = builder_of(config, str(tmp_path / "d"))
    touched = tmp_path / "videos/person00_clip0.mp4"
    worker.tools = replace(worker.tools, detector=FakeDetectorThatTouches(worker.tools.detector, touched))
    first, second = worker.build(plan).videos
    assert (first.status, first.stage, first.reason) == ("rejected", "source", "changed")
    assert "written to while it was read" in first.detail
    assert second.status == "ok"


def test_labels_that_changed_since_the_plan_are_a_row(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    (plan,) = plans_of(config, "person00_clip0")
    stale = replace(plan, spans=(span_with(plan.spans[0], labels_content_id=content_id_of_bytes(b"before")),))
    gone = replace(plan, spans=(span_with(plan.spans[0], labels_uri=str(tmp_path / "gone.csv")),))
    worker = builder_of(config, str(tmp_path / "d"))
    outcomes = [(r.stage, r.reason) for p in (stale, gone) for r in worker.build(p).videos]
    assert outcomes == [("labels", "changed"), ("labels", "missing")]
