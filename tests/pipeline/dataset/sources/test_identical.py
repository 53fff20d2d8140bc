"""Files of one content under several names: one group in one split, whatever else the source says."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import UsageError
from pipeline.config.dataset_sections import PreprocessConfig
from pipeline.dataset.sources.content_id import content_id_of_file, delete_cached
from pipeline.dataset.sources.identical import copies_of, join_identical
from pipeline.dataset.sources.listing import list_videos
from tests.pipeline.dataset.sources.test_listing import Source

MIB = 1 << 20


@pytest.fixture
def source(tmp_path):
    return Source(tmp_path)


def groups_of(listing):
    return {video.video_id: video.group for video in listing.videos}


def test_a_copy_and_a_link_are_of_the_group_of_their_original(source):
    source.add("videos/b/talk.mp4", b"one")
    source.add("videos/copy.mp4", b"one")
    source.add("videos/other.mp4", b"two")
    (source.folder / "videos/link.mp4").symlink_to(source.folder / "videos/b/talk.mp4")
    listing = source.list()
    assert groups_of(listing) == {"b__talk": "b__talk", "copy": "b__talk", "link": "b__talk", "other": "other"}
    assert copies_of(listing.videos) == [("b__talk", "copy", "link")]


def test_a_copy_joins_the_group_that_the_manifest_names(source):
    source.add("videos/a.mp4", b"one")
    source.add("videos/z.mp4", b"one")
    source.add("manifest.csv", b"video,group,split\nz,zoe,val\n")
    listing = source.list(manifest=str(source.folder / "manifest.csv"))
    assert [(video.group, video.split) for video in listing.videos] == [("zoe", "val")] * 2


def test_members_of_a_group_follow_the_one_that_has_a_copy(source):
    """Here the group is called like a video, and the copy's name comes before it."""
    for name, data in (("A0", b"one"), ("a", b"one"), ("b", b"two")):
        source.add(f"videos/{name}.mp4", data)
    source.add("manifest.csv", b"video,group,split\nb,a,\n")
    assert set(groups_of(source.list(manifest=str(source.folder / "manifest.csv"))).values()) == {"a"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a,,train\nz,,val\n", r"'a\.mp4' and 'z\.mp4' are the same recording .* in the splits 'train' and 'val'"),
        ("a,anna,\nz,zoe,\n", r"'a\.mp4' and 'z\.mp4' are the same recording .* groups 'anna' and 'zoe'"),
        (
            "a,,train\nb,ben,val\nz,ben,\n",
            r"'a\.mp4' and 'z\.mp4' are the same recording .* in the splits 'train' and 'val'",
        ),
    ],
)
def test_a_manifest_that_separates_copies_is_refused_with_both_names(source, rows, words):
    for name, data in (("a", b"one"), ("b", b"two"), ("z", b"one")):
        source.add(f"videos/{name}.mp4", data)
    source.add("manifest.csv", b"video,group,split\n" + rows.encode())
    with pytest.raises(UsageError, match=words):
        source.list(manifest=str(source.folder / "manifest.csv"))


def test_lists_that_separate_copies_are_refused(source):
    source.add("videos/a.mp4", b"one")
    source.add("videos/z.mp4", b"one")
    source.add("lists/train.txt", b"a\n")
    source.add("lists/test.txt", b"z\n")
    with pytest.raises(UsageError, match=r"'a\.mp4' and 'z\.mp4' are the same recording"):
        source.list(lists=str(source.folder / "lists"))


def test_empty_files_are_no_copies_of_each_other(source):
    for n in range(3):
        source.add(f"videos/{n}.mp4", b"")
    listing = source.list()
    assert groups_of(listing) == {"0": "0", "1": "1", "2": "2"}
    assert copies_of(listing.videos) == []


def test_two_people_in_one_file_are_no_copies(source):
    source.add("videos/v1.mp4", b"one")
    for person in ("left", "right"):
        source.add(f"labels/Train_Set/v1_{person}.txt")
    listing = source.list(kind="affwild2", labels=str(source.folder / "labels"))
    assert [video.group for video in listing.videos] == ["v1", "v1"]
    assert copies_of(listing.videos) == []


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a_left,anna,\na_right,ben,\n", r"in the groups 'anna' and 'ben'"),
        ("a_left,anna,train\na_right,ben,val\n", r"in the groups 'anna' and 'ben'"),
        ("a_left,,train\na_right,ben,val\n", r"in the splits 'train' and 'val'"),
    ],
)
def test_two_people_of_one_recording_in_two_groups_are_refused_with_both_keys(source, rows, words):
    """Each stream holds the sound of both, and their faces may be visible in the same picture."""
    source.add("videos/a.mp4", b"one")
    for person in ("left", "right"):
        source.add(f"labels/Train_Set/a_{person}.txt")
    source.add("manifest.csv", b"video,group,split\n" + rows.encode())
    kind = {"kind": "affwild2", "labels": str(source.folder / "labels")}
    with pytest.raises(
        UsageError, match=rf"'a_left' and 'a_right' are two people in one recording, .*{words}"
    ) as error:
        source.list(**kind, manifest=str(source.folder / "manifest.csv"))
    assert "remove one of the files" not in str(error.value)
    assert "content is identical" not in str(error.value)


def test_two_people_of_one_recording_may_share_a_named_group(source):
    source.add("videos/a.mp4", b"one")
    source.add("videos/b.mp4", b"two")
    for name in ("a_left", "a_right", "b"):
        source.add(f"labels/Train_Set/{name}.txt")
    source.add("manifest.csv", b"video,group,split\na_left,pair,\nb,pair,\n")
    kind = {"kind": "affwild2", "labels": str(source.folder / "labels")}
    listing = source.list(**kind, manifest=str(source.folder / "manifest.csv"))
    assert {video.key: video.group for video in listing.videos} == {"a_left": "pair", "a_right": "pair", "b": "pair"}


def test_an_earlier_datasets_name_of_a_group_is_kept(source):
    """Otherwise a copy that comes first by name would move its original."""
    source.add("videos/talk.mp4", b"one")
    (before,) = source.list().videos
    source.add("videos/again.mp4", b"one")
    unnamed = [replace(video, group="") for video in source.list().videos]
    assert {video.group for video in join_identical(unnamed, {})} == {"again"}
    assert {video.group for video in join_identical(unnamed, {("talk", before.content_id): "talk"})} == {"talk"}


def test_a_changed_file_keeps_the_group_of_its_name(source):
    """A video that was encoded anew shows the same person, who has other videos in the group."""
    source.add("videos/talk.mp4", b"encoded anew")
    source.add("videos/other.mp4", b"two")
    unnamed = [replace(video, group="") for video in source.list().videos]
    (other,) = (video for video in unnamed if video.key == "other")
    known = {("talk", "4-before"): "anna", ("other", other.content_id): "anna"}
    assert {video.key: video.group for video in join_identical(unnamed, known)} == {"talk": "anna", "other": "anna"}


def test_an_unchanged_file_decides_before_a_changed_one_of_its_group(source):
    """`again` was another person's and is a copy of `talk` now: the person of `talk` must not move."""
    source.add("videos/again.mp4", b"one")
    source.add("videos/talk.mp4", b"one")
    unnamed = [replace(video, group="") for video in source.list().videos]
    known = {("again", "5-before"): "ben", ("talk", unnamed[0].content_id): "anna"}
    assert {video.group for video in join_identical(unnamed, known)} == {"anna"}


def add_recordings(source, **middles):
    """Files of 3 MiB that differ at most in the middle, as raw recordings with silent ends do."""
    for name, middle in middles.items():
        source.add(f"videos/{name}.avi", bytes(MIB) + middle.ljust(MIB, b"\0") + bytes(MIB))


def test_files_that_differ_in_the_middle_alone_are_no_copies(source):
    add_recordings(source, a=b"one", b=b"two", c=b"one")
    source.add("manifest.csv", b"video,group,split\na,,train\nb,,val\n")
    listing = source.list(manifest=str(source.folder / "manifest.csv"))
    assert [(v.video_id, v.group, v.split) for v in listing.videos] == [
        ("a", "a", "train"),
        ("b", "b", "val"),
        ("c", "a", "train"),
    ]
    assert copies_of(listing.videos) == [("a", "c")]
    for video in listing.videos:
        assert content_id_of_file(Path(video.uri), planned=video.content_id) == video.content_id


def test_whole_files_are_compared_once(source):
    add_recordings(source, a=b"one", b=b"two")
    first = source.list()
    cache = source.folder / "out/cache/content_ids.json"
    whole = first.videos[0].content_id.rpartition("-")[2]
    cache.write_text(cache.read_text().replace(whole, "remembered"))
    assert source.list().videos[0].content_id.endswith("-remembered")
    delete_cached([video.uri for video in first.videos], str(source.folder / "out"))
    assert "videos" not in cache.read_text()


def test_a_plan_compares_without_a_trace(source):
    add_recordings(source, a=b"one", b=b"two")
    source.config = source.config.model_copy(update={"preprocess": PreprocessConfig(dry_run=True)})
    listing = list_videos(source.config)
    assert copies_of(listing.videos) == []
    assert not (source.folder / "out").exists()


def test_true_copies_have_the_id_that_one_of_them_has_alone(source):
    """So a copy that is added changes nothing of its original."""
    add_recordings(source, a=b"one")
    (alone,) = source.list().videos
    add_recordings(source, b=b"one")
    assert {video.content_id for video in source.list().videos} == {alone.content_id}
