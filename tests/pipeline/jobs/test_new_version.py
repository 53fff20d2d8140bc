"""New versions of a dataset: what is kept is kept byte for byte, and of what was withdrawn nothing remains."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from pipeline import storage
from pipeline.config import UsageError, dataset_fingerprint
from pipeline.config.dataset_sections import SourceConfig
from pipeline.dataset.build import attempts, versions
from pipeline.dataset.format import shards, tables
from pipeline.dataset.format.dataset_info import DatasetError, read_dataset, read_index, read_unused, read_videos
from pipeline.dataset.format.samples import decode_slice
from pipeline.dataset.sources.listing import list_videos
from pipeline.jobs import new_version, preprocess, verify
from pipeline.jobs.workers import shard_builder
from pipeline.jobs.workers.file_scanner import scan_file
from pipeline.media.faces.crop import encode_jpeg
from pipeline.records import SampleRow, ShardRecord, Span, UnusedInput, Video, VideoRow
from tests.support.fake_pool import FakePool
from tests.support.preprocessing import (
    build_in_process,
    config_of,
    plans_of,
    result_of,
    rows_of,
    start_job,
    with_options,
)


@pytest.fixture
def own_source(talkers, tmp_path):
    """A copy of the talkers that a test may change."""
    shutil.copytree(talkers, tmp_path / "source")
    return tmp_path / "source"


def require_sound(info):
    problems = [verify.problem_of(info.uri, s, rows_of(info.uri, s.name)) for s in info.shards]
    assert problems == [""] * len(problems)
    rows = read_videos(info.uri)
    assert len({(row.video_id, row.person) for row in rows}) == len(rows) == info.counts["videos"]


def test_nothing_of_a_removed_person_remains(own_source, tmp_path):
    config = config_of(own_source, tmp_path / "root", shards={"max_videos": 4})
    parent = build_in_process(config)
    gone = [r for r in read_index(parent.uri) if r.video_id.startswith("person00")]
    tar = shards.shard_uri(parent.uri, gone[0].shard.removesuffix(".tar"))
    faces = decode_slice(storage.read_bytes(tar, gone[0].offset, gone[0].size)).faces_mjpeg
    marker = faces[-100:-50]  # within a picture of the person's face, behind the tables that all JPEGs share
    for path in own_source.glob("*/person00*"):
        path.unlink()
    result = preprocess.run(with_options(config, extend=parent.uri))
    info = read_dataset(result.output_uri)
    require_sound(info)
    assert info.uri != parent.uri
    found = [entry.uri for entry in storage.list_files(info.uri) if b"person00" in storage.read_bytes(entry.uri)]
    found += [entry.uri for entry in storage.list_files(info.uri) if marker in storage.read_bytes(entry.uri)]
    found += [entry.uri for entry in storage.list_files(info.uri) if "person00" in entry.uri]
    cache = storage.list_files(str(tmp_path / "root/cache"))
    found += [entry.uri for entry in cache if b"person00" in storage.read_bytes(entry.uri)]
    assert found == []
    assert cache
    assert any(marker in storage.read_bytes(entry.uri) for entry in storage.list_files(parent.uri))
    assert info.provenance["parent"] == parent.name
    assert (info.provenance["added"], info.provenance["removed"]) == (0, 2)
    assert any("still holds what was removed" in line for line in result.lines)
    kept = {s.name: s for s in parent.shards}
    touched = {row.shard.removesuffix(".tar") for row in gone}
    for entry in info.shards:
        linked = storage.stat(shards.shard_uri(info.uri, entry.name)).version
        same = linked == storage.stat(shards.shard_uri(parent.uri, entry.name)).version
        assert same == (entry.name not in touched)
        assert (entry.sha256 == kept[entry.name].sha256) == (entry.name not in touched)
    samples = {r.key: r for r in read_index(parent.uri)}
    for row in read_index(info.uri):
        old = samples[row.key]
        before = storage.read_bytes(shards.shard_uri(parent.uri, old.shard[:-4]), old.offset, old.size)
        assert storage.read_bytes(shards.shard_uri(info.uri, row.shard[:-4]), row.offset, row.size) == before


def test_a_new_version_lists_what_is_not_used_without_names_of_withdrawn_videos(own_source, tmp_path):
    """Labels and rows of the manifest stay behind: after the withdrawal, and in the versions that come later."""
    (own_source / "labels/typo.csv").write_text("frame,valence,arousal\n0,0,0\n")
    config = config_of(own_source, tmp_path / "root", shards={"max_videos": 4})
    parent = build_in_process(config)
    typo = UnusedInput("labels", "typo.csv", "labels typo.csv: no such video")
    storage.publish_bytes(tables.to_parquet([typo], UnusedInput), storage.join(parent.uri, "unused.parquet"))

    def extended(uri):
        info = read_dataset(preprocess.run(with_options(config, extend=uri)).output_uri)
        assert info.uri != uri
        page = storage.read_text(storage.join(info.uri, "quality.html"))
        unused = read_unused(info.uri)
        assert [each.text for each in unused if each.text not in page] == []
        return info, {each.name for each in unused}

    for path in own_source.glob("videos/person00*"):
        path.unlink()
    (own_source / "labels/other.csv").write_text("frame,valence,arousal\n0,0,0\n")
    first, unused = extended(parent.uri)
    assert unused == {"typo.csv"}
    (own_source / "videos/person01_clip0.mp4").unlink()
    second, unused = extended(first.uri)
    assert unused == {"typo.csv"}
    assert second.provenance["withdrawn"] == 3
    for info in (first, second):
        assert not [e.uri for e in storage.list_files(info.uri) if b"person00" in storage.read_bytes(e.uri)]


def test_a_file_that_bore_the_name_of_a_person_before_they_withdrew_is_not_named():
    unused = [UnusedInput("labels", name, name) for name in ("Val/anna_left.txt", "x/anna.csv", "anna", "annabel.csv")]
    gone = [Video("x__anna", "x/anna.mp4", "/x/anna.mp4", 1, "1")]
    kept = versions.unused_to_keep(unused, unused, gone, num_withdrawn=1)
    assert [each.name for each in kept] == ["annabel.csv"]
    assert versions.unused_to_keep(unused, [], gone, num_withdrawn=1) == []
    assert versions.unused_to_keep(unused, [], [], num_withdrawn=0) == unused


def test_the_rebuilt_shard_is_what_a_build_without_the_video_gives(own_source, tmp_path):
    config = config_of(own_source, tmp_path / "root", shards={"max_videos": 9})
    parent = build_in_process(config)
    (own_source / "videos/person01_clip0.mp4").unlink()
    result = preprocess.run(with_options(config, extend=parent.uri))
    fresh = build_in_process(config_of(own_source, tmp_path / "fresh", shards={"max_videos": 9}))
    assert read_dataset(result.output_uri).digest == fresh.digest
    again = preprocess.run(with_options(config, extend=parent.uri))
    assert (again.skipped, again.output_uri) == (True, result.output_uri)


def test_new_and_changed_videos_get_new_shards(own_source, tmp_path):
    for name in ("person01_clip1", "person02_clip1"):
        shutil.move(own_source / f"videos/{name}.mp4", tmp_path / f"{name}.mp4")
    config = config_of(own_source, tmp_path / "root")
    parent = build_in_process(config)
    shutil.move(tmp_path / "person01_clip1.mp4", own_source / "videos")
    labels = own_source / "labels/person00_clip0.csv"
    labels.write_text(labels.read_text() + "\n")  # changed, though not in meaning
    (own_source / "videos/person02_clip0.mp4").unlink()
    manifest = own_source / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",train", ",val").replace(",test", ",val"))
    before = {row.group: row.split for row in read_videos(parent.uri)}
    job = start_job(with_options(config, extend=parent.uri), tmp_path / "job")
    result = result_of(job, tmp_path / "job")
    info = read_dataset(result.output_uri)
    require_sound(info)
    rows = {row.video_id: row for row in read_videos(info.uri)}
    assert sorted(rows) == [
        "blank",
        "broken",
        "person00_clip0",
        "person00_clip1",
        "person01_clip0",
        "person01_clip1",
        "voice",
    ]
    assert {row.group: row.split for row in rows.values()} == {g: s for g, s in before.items() if g != "person02"}
    stay = {group: [split, "val"] for group, split in before.items() if group in ("person00", "person01")}
    assert info.provenance["splits_kept"] == {group: pair for group, pair in stay.items() if pair[0] != "val"} != {}
    (warning,) = (line for line in result.warnings if "kept in the split" in line)
    card = storage.read_text(storage.join(info.uri, "README.md"))
    for group, (split, asked) in info.provenance["splits_kept"].items():
        assert f"{group} in {split} (not {asked})" in warning
        assert f"| {group} | {split} | {asked} |" in card
    assert (info.provenance["added"], info.provenance["removed"]) == (2, 2)
    old = {s.name for s in parent.shards}
    new = {row.video_id for row in read_index(info.uri) if row.shard.removesuffix(".tar") not in old}
    assert new == {"person00_clip0", "person01_clip1"}


def test_no_video_moves_when_others_come(own_source, tmp_path):
    """Splits are balanced over all groups, but not those that the dataset has; a copy joins its original."""
    config = config_of(own_source, tmp_path / "root")
    config = config.model_copy(update={"source": replace(config.source, manifest="")})
    later = ("person00_clip1", "person01_clip1", "person02_clip0", "person02_clip1")
    for name in later:
        shutil.move(own_source / f"videos/{name}.mp4", tmp_path / f"{name}.mp4")
    parent = build_in_process(config)
    before = {row.video_id: (row.group, row.split) for row in read_videos(parent.uri)}
    assert sorted(split for name, (_, split) in before.items() if "person" in name) == ["train", "val"]
    for name in later:
        shutil.move(tmp_path / f"{name}.mp4", own_source / "videos")
    shutil.copy(own_source / "videos/person00_clip0.mp4", own_source / "videos/a_copy.mp4")
    job = start_job(with_options(config, extend=parent.uri), tmp_path / "job")
    info = read_dataset(result_of(job, tmp_path / "job").output_uri)
    require_sound(info)
    after = {row.video_id: (row.group, row.split) for row in read_videos(info.uri)}
    assert {name: after[name] for name in before} == before
    assert after["a_copy"] == before["person00_clip0"]
    assert "test" in {after[name][1] for name in later}
    assert set(parent.shards) < set(info.shards)
    assert info.provenance["splits_kept"] == {}


def test_changed_crops_and_changed_labels_are_noticed(own_source, tmp_path):
    for clip in ("person00_clip0", "person00_clip1", "person01_clip0"):
        for number in range(1, 51):
            jpeg = encode_jpeg(np.full((48, 48, 3), number, np.uint8), 90)
            storage.publish_bytes(jpeg, str(own_source / f"crops/{clip}/{number:05d}.jpg"))
    for path in own_source.glob("videos/*"):
        if not (own_source / "crops" / path.stem).exists():
            path.unlink()
    config = config_of(own_source, tmp_path / "root")
    config = config.model_copy(update={"source": replace(config.source, crops=str(own_source / "crops"))})
    parent = build_in_process(config)
    assert {row.status for row in read_videos(parent.uri)} == {"ok"}
    records = versions.read_records(parent)
    same = versions.compare_with_source(records, list_videos(config).videos)
    assert (same.added, same.removed, len(same.kept)) == ([], set(), 3)
    storage.publish_bytes(jpeg + b"another picture", str(own_source / "crops/person00_clip0/00007.jpg"))
    storage.delete(str(own_source / "crops/person00_clip1/00050.jpg"))
    changed = versions.compare_with_source(records, list_videos(config).videos)
    assert [video.key for video in changed.added] == ["person00_clip0", "person00_clip1"]
    assert (changed.removed, set(changed.kept)) == ({"person00_clip0", "person00_clip1"}, {"person01_clip0"})
    (own_source / "labels/person01_clip0.csv").write_text("frame,valence,arousal\n0,0.5,0.5\n")
    assert versions.compare_with_source(records, list_videos(config).videos).kept == {}


def test_an_extension_stops_where_a_new_file_is_missing_for_now(own_source, tmp_path):
    config = config_of(own_source, tmp_path / "root")
    config = config.model_copy(update={"source": replace(config.source, manifest="")})
    new = [own_source / f"videos/person02_clip{n}.mp4" for n in range(2)]
    data = [path.read_bytes() for path in new]
    for path in new:
        path.unlink()
    parent = build_in_process(config)
    for path, content in zip(new, data, strict=True):
        path.write_bytes(content)
    extension = preprocess.prepare(with_options(config, extend=parent.uri))
    new[1].unlink()
    pool = FakePool(lambda streams: scan_file(streams, config))
    with pytest.raises(RuntimeError, match=r"^1 file could not be scanned now \(person02_clip1\.mp4\)"):
        new_version.extend(extension, pool, 0.0)
    assert not storage.exists(extension.target.uri)


def test_ten_groups_that_did_not_move_are_named(undisturbed):
    kept = {f"g{n:02d}": ("train", "val") for n in range(12)}
    (line,) = versions.splits_kept_warnings(versions.SourceDifference([], set(), {}, kept), undisturbed)
    assert "12 groups kept in the split of talk, though" in line
    assert "g09 in train (not val) and 2 more; to move them" in line
    assert "g10" not in line


def test_a_group_that_only_moved_is_reported_though_there_is_nothing_to_do(own_source, tmp_path):
    config = config_of(own_source, tmp_path / "root")
    for path in own_source.glob("videos/person0[12]*"):
        path.unlink()
    parent = build_in_process(config)
    (split,) = {row.split for row in read_videos(parent.uri) if row.group == "person00"}
    other = "val" if split != "val" else "test"
    manifest = own_source / "manifest.csv"
    manifest.write_text(f"video,group,split\nperson00_clip0,person00,{other}\nperson00_clip1,person00,{other}\n")
    result = preprocess.run(with_options(config, extend=parent.uri))
    assert result.skipped
    assert result.warnings[0].startswith("1 group kept in the split of talk, though")
    assert f"person00 in {split} (not {other})" in result.warnings[0]


def test_an_extension_needs_the_same_settings_and_the_whole_source(own_source, tmp_path):
    for path in own_source.glob("videos/person*"):
        path.unlink()
    config = config_of(own_source, tmp_path / "root")
    parent = build_in_process(config)
    extend = with_options(config, extend=parent.uri)
    with pytest.raises(UsageError, match=r"media\.crop_px is 64, but talk was made with 48"):
        preprocess.run(extend.model_copy(update={"media": replace(config.media, crop_px=64)}))
    with pytest.raises(UsageError, match="--extend would remove all but the first 2 videos"):
        preprocess.run(with_options(extend, limit=2))
    assert preprocess.run(extend).skipped
    for path in own_source.glob("videos/*"):
        path.rename(path.with_stem(f"other_{path.stem}"))
    with pytest.raises(UsageError, match=r"none of the videos of .* is under source\.videos"):
        preprocess.run(extend)


def test_an_extension_that_nothing_can_be_trained_on_is_refused_before_ray(own_source, tmp_path):
    """Videos that are kept and were rejected do not count; new and changed ones do, as they may be readable."""
    for path in own_source.glob("videos/person0[12]*"):
        path.rename(tmp_path / path.name)
    config = config_of(own_source, tmp_path / "root")
    config = config.model_copy(update={"source": replace(config.source, manifest="")})
    (own_source / "labels/broken.csv").write_text("frame,valence,arousal\n0,0,0\n")
    parent = build_in_process(config)
    asked = with_options(config, extend=parent.uri, require_trainable=True)
    (own_source / "videos/blank.mp4").unlink()
    with pytest.raises(UsageError, match=r"only 2 groups that can be used have labels, for 3 splits"):
        preprocess.prepare(asked)
    (own_source / "videos/broken.mp4").unlink()
    (tmp_path / "person01_clip0.mp4").rename(own_source / "videos/broken.mp4")
    assert isinstance(preprocess.prepare(asked), new_version.Extension)


@pytest.mark.slow
def test_rejected_videos_are_tried_again(talkers, tmp_path):
    config = config_of(talkers, tmp_path / "root", preprocess={"limit": 4})
    calm = build_in_process(config_of(talkers, tmp_path / "calm", preprocess={"limit": 4}))
    toolchain = shard_builder.find_toolchain(config)
    name = f"talk-{dataset_fingerprint(config, list_videos(config).content_ids, toolchain)}"
    uri = storage.join(config.storage.root, "datasets", name)
    plans = plans_of(config)
    hurt = next(plan for plan in plans if any(span.video.key == "person00_clip0" for span in plan.spans))
    for _ in range(2):
        attempts.begin(uri, hurt.name, "").mark(next(s for s in hurt.spans if s.video.key == "person00_clip0"))
    base = build_in_process(config, name)
    assert {row.reason for row in read_videos(uri)} == {"", "no_face", "unreadable", "worker_crash"}
    retry = with_options(config, retry_rejected=True)
    first = result_of(start_job(retry, tmp_path / "a"), tmp_path / "a")
    info = read_dataset(first.output_uri)
    require_sound(info)
    assert info.uri != uri
    assert (info.digest, info.provenance["parent"]) == (calm.digest, base.name)
    rows = {row.video_id: row for row in read_videos(info.uri)}
    assert (rows["person00_clip0"].status, rows["person00_clip0"].attempts) == ("ok", 3)
    assert (rows["broken"].status, rows["broken"].attempts) == ("rejected", 2)
    assert preprocess.run(config).output_uri == info.uri  # what the same command finds from now on
    second = result_of(start_job(retry, tmp_path / "b"), tmp_path / "b")
    assert second.output_uri == info.uri
    assert second.lines[0] == "nothing changed: 2 are rejected as before"
    assert len(list((tmp_path / "root/datasets").glob("*/dataset.json"))) == 2


@pytest.mark.parametrize("other", [{"dry_run": True}, {"extend": "/elsewhere"}])
def test_what_a_retry_would_ignore_is_refused(talkers, tmp_path, other):
    config = config_of(talkers, tmp_path, preprocess={"retry_rejected": True, **other})
    with pytest.raises(UsageError, match=r"--retry-rejected .* leave --(dry-run|extend) out"):
        preprocess.run(config)
    assert not list(tmp_path.iterdir())


def test_a_run_that_was_killed_after_its_commit_is_forgotten_by_the_next(own_source, tmp_path):
    config = config_of(own_source, tmp_path / "root", shards={"max_videos": 4})
    parent = build_in_process(config)
    for path in own_source.glob("*/person00*"):
        path.unlink()
    shutil.copytree(tmp_path / "root/cache", tmp_path / "before")
    asked = with_options(config, extend=parent.uri)
    info = read_dataset(preprocess.run(asked).output_uri)
    shutil.rmtree(tmp_path / "root/cache")
    shutil.copytree(tmp_path / "before", tmp_path / "root/cache")
    result = preprocess.run(asked)
    assert (result.output_uri, result.skipped) == (info.uri, True)
    cache = storage.list_files(str(tmp_path / "root/cache"))
    assert cache
    assert [entry.uri for entry in cache if b"person00" in storage.read_bytes(entry.uri)] == []


@pytest.mark.slow
def test_a_damaged_dataset_is_repaired_from_the_source(own_source, tmp_path):
    config = config_of(own_source, tmp_path / "root", preprocess={"limit": 4})
    info = build_in_process(config)
    lost, damaged = (tmp_path / f"root/datasets/talk/shards/{s.name}.tar" for s in info.shards[:2])
    before = [lost.read_bytes(), damaged.read_bytes()]
    lost.unlink()
    damaged.write_bytes(b"x" + before[1][1:])
    own_source.rename(tmp_path / "moved")
    asked = config_of(tmp_path / "moved", tmp_path / "root", verify={"dataset": info.uri, "repair": True})
    job = start_job(asked, tmp_path / "a", "verify")
    assert "2 shards" in result_of(job, tmp_path / "a").lines[0]
    assert [lost.read_bytes(), damaged.read_bytes()] == before
    video = tmp_path / "moved/videos/person00_clip0.mp4"
    video.write_bytes(video.read_bytes() + b"more")
    victim = next(r.shard for r in read_index(info.uri) if r.video_id == "person00_clip0")
    (lost.parent / victim).unlink()
    job = start_job(asked, tmp_path / "b", "verify")
    assert job.wait(240) == 1
    output = (tmp_path / "b/output.txt").read_text()
    assert "1 shard of" in output
    assert "could not be repaired" in output
    assert "person00_clip0.mp4: changed" in output
    assert not (lost.parent / victim).exists()


def test_a_repair_does_not_hide_what_it_cannot_mend(own_source, tmp_path):
    info = build_in_process(config_of(own_source, tmp_path / "root", preprocess={"limit": 4}))
    tar = shards.shard_uri(info.uri, info.shards[0].name)
    storage.delete(tar)
    rows = read_index(info.uri)
    rows.append(replace(rows[0], shard="train-99999.tar"))
    storage.publish_bytes(tables.to_parquet(rows, SampleRow), storage.join(info.uri, "index.parquet"))
    asked = config_of(own_source, tmp_path / "root", verify={"dataset": info.uri, "repair": True})
    with pytest.raises(DatasetError, match=r"(?s)the tar is missing.*train-99999: in the index, but not in"):
        verify.run(asked)
    assert not storage.exists(tar)


def test_a_repair_finds_all_that_was_moved(talkers, tmp_path):
    built = config_of(talkers, tmp_path).model_copy(
        update={"source": SourceConfig(videos="/v", labels="/l", crops="/c")}
    )
    now = built.model_copy(update={"source": SourceConfig(videos="s3://b/v", labels="/m", crops="/d")})
    video = Video(
        "a", "x/a.mp4", "/v/x/a.mp4", 1, "1", labels_uri="/l/a.csv", arousal_uri="/l2/a.csv", crops_uri="/c/a"
    )
    other = replace(video, uri="/v", arousal_uri="/l/b.csv")
    row = VideoRow("a", "", "/v/x/a.mp4", "a", "train", "ok", "", "", "")
    record = ShardRecord("train-00000", "", 0, "", (), (row, row), spans=(Span(video), Span(other)))
    first, second = (span.video for span in verify.plan_of(record, built, now).spans)
    assert (first.uri, first.labels_uri, first.arousal_uri) == ("s3://b/v/x/a.mp4", "/m/a.csv", "/l2/a.csv")
    assert (second.uri, second.arousal_uri, second.crops_uri) == ("s3://b/v", "/m/b.csv", "/d/a")


def test_a_bucket_is_renewed_like_a_folder(own_source, tmp_path, s3_bucket):
    config = config_of(own_source, f"{s3_bucket}/root", shards={"max_videos": 4})
    parent = build_in_process(config)
    (own_source / "videos/person01_clip0.mp4").unlink()
    info = read_dataset(preprocess.run(with_options(config, extend=parent.uri)).output_uri)
    require_sound(info)
    assert not [e.uri for e in storage.list_files(info.uri) if b"person01_clip0" in storage.read_bytes(e.uri)]
    kept = {s.name: s.sha256 for s in parent.shards}
    assert sum(kept[s.name] == s.sha256 for s in info.shards) == info.provenance["shards_kept"] == len(kept) - 1
