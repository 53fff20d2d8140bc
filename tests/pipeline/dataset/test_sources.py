import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Config, UsageError
from pipeline.dataset.sources import key_safe, list_videos


@pytest.fixture
def source(tmp_path):
    return Source(tmp_path)


class Source:
    """A folder of small files and the configuration that lists it."""

    def __init__(self, folder):
        self.folder = folder
        self.config = Config(source={"videos": str(folder / "videos")}, storage={"root": str(folder / "out")})

    def add(self, path, data=b"data"):
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(data)

    def list(self, limit=0, **source):
        update = {"source": replace(self.config.source, **source), "limit": limit}
        return list_videos(self.config.model_copy(update=update))


def test_media_files_become_streams_and_other_files_are_told(source):
    for path in ("videos/b/talk.MP4", "videos/a.webm", "videos/voice.m4a", "videos/notes.pdf", "videos/.mp4"):
        source.add(path)
    listing = source.list()
    assert [video.video_id for video in listing.videos] == ["a", "b__talk", "voice"]
    assert listing.videos[1].relative_path == "b/talk.MP4"
    assert listing.videos[1].group == "b__talk"
    assert listing.ignored == [".mp4", "notes.pdf"]


def test_ids_that_collide_are_refused_with_both_paths(source):
    source.add("videos/a.b.mp4")
    source.add("videos/a_b.mp4")
    with pytest.raises(UsageError, match=r"'a\.b\.mp4' and 'a_b\.mp4' would both be called 'a_b'"):
        source.list()


def test_one_stem_in_two_folders_is_two_videos(source):
    source.add("videos/x/talk.mp4")
    source.add("videos/y/talk.mp4")
    assert [video.video_id for video in source.list().videos] == ["x__talk", "y__talk"]


@given(st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=300))
def test_ids_are_safe_for_any_path(path):
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,120}", key_safe(f"{path.strip('/.') or 'x'}.mp4"))


def test_long_and_foreign_names_stay_apart():
    names = ["x" * 300 + "1.mp4", "x" * 300 + "2.mp4", "日本.mp4", "中国.mp4", "Zoë.mp4", "Zoe.mp4"]
    assert len({key_safe(name) for name in names}) == len(names)
    assert key_safe("-a b/c.d\n.mp4") == "-a_b__c_d_"


def test_limit_keeps_the_first(source):
    for name in ("c", "a", "b"):
        source.add(f"videos/{name}.mp4")
    assert [video.video_id for video in source.list(limit=2).videos] == ["a", "b"]


def test_empty_and_missing_sources_are_usage_errors(source):
    with pytest.raises(UsageError, match=r"source\.videos .* does not exist"):
        source.list()
    source.add("videos/readme.txt")
    with pytest.raises(UsageError, match=r"no video under source\.videos .* \(1 files"):
        source.list()
    with pytest.raises(UsageError, match=r"source\.videos is empty"):
        source.list(videos="")
    source.add("videos/a.mp4")
    with pytest.raises(UsageError, match=r"source\.labels .* does not exist"):
        source.list(labels=str(source.folder / "labels"))


def test_labels_mirror_the_videos(source):
    for path in ("videos/x/a.mp4", "videos/b.mp4", "labels/x/a.csv", "labels/a.csv", "videos/c.mp4", "labels/c.txt"):
        source.add(path)
    listing = source.list(labels=str(source.folder / "labels"))
    labels = str(source.folder / "labels")
    assert [video.labels_uri for video in listing.videos] == ["", f"{labels}/c.txt", f"{labels}/x/a.csv"]
    assert listing.ignored == ["labels a.csv: no such video"]


def test_labels_may_lie_beside_the_videos(source):
    source.add("videos/a.mp4")
    source.add("videos/a.csv")
    source.add("videos/manifest.csv", b"video,group,split\na,anna,val\n")
    folder = str(source.folder / "videos")
    listing = source.list(labels=folder, manifest=f"{folder}/manifest.csv")
    assert (listing.videos[0].group, listing.videos[0].split) == ("anna", "val")
    assert listing.ignored == []


def test_two_label_files_for_one_video_are_refused(source):
    for path in ("videos/a.mp4", "labels/a.csv", "labels/a.txt"):
        source.add(path)
    with pytest.raises(UsageError, match=r"labels 'a\.csv' and 'a\.txt' are for one video"):
        source.list(labels=str(source.folder / "labels"))


def test_affwild2_makes_a_stream_per_person_and_one_group_per_video(source):
    for path in ("videos/batch1/v1.mp4", "videos/v2.avi", "videos/v3_left.mp4", "videos/unlabelled.mp4"):
        source.add(path)
    labels = source.folder / "labels"
    for path in ("Train_Set/v1_left.txt", "Train_Set/v1_right.txt", "Train_Set/v3_left.txt"):
        source.add(f"labels/VA/{path}")
    source.add("labels/VA/Validation_Set/v2.txt")
    source.add("labels/VA/Validation_Set/gone.txt")
    listing = source.list(kind="affwild2", labels=str(labels))
    assert [(v.key, v.person, v.group, v.split) for v in listing.videos] == [
        ("batch1__v1_left", "left", "batch1__v1", "train"),
        ("batch1__v1_right", "right", "batch1__v1", "train"),
        ("v2", "", "v2", "val"),
        ("v3_left", "", "v3_left", "train"),
    ]
    assert listing.videos[0].uri == listing.videos[1].uri
    assert listing.ignored == ["labels VA/Validation_Set/gone.txt: no such video", "unlabelled.mp4: no labels"]


def test_affwild2_persons_of_one_video_in_two_splits_are_refused(source):
    for path in ("videos/v1.mp4", "labels/Train_Set/v1_left.txt", "labels/Validation_Set/v1_right.txt"):
        source.add(path)
    with pytest.raises(UsageError, match="group 'v1' is in two splits"):
        source.list(kind="affwild2", labels=str(source.folder / "labels"))


def test_identities_follow_the_bytes_of_videos_and_labels(source):
    source.add("videos/a.mp4", b"one")
    source.add("labels/a.csv", b"frame,valence,arousal\n")
    labels = str(source.folder / "labels")
    first = source.list(labels=labels).identities
    assert source.list(labels=labels).identities == first
    source.add("videos/a.mp4", b"two")
    second = source.list(labels=labels).identities
    assert {key for key in first if first[key] != second[key]} == {"stream a"}
    source.add("labels/a.csv", b"frame,valence,arousal\n0,0,0\n")
    assert {key for key in first if second[key] != source.list(labels=labels).identities[key]} == {"labels a"}


def test_a_known_file_is_not_read_again(source):
    source.add("videos/a.mp4", b"one")
    first = source.list()
    cache = source.folder / "out/cache/identities.json"
    assert first.videos[0].identity in cache.read_text()
    cache.write_text(cache.read_text().replace(first.videos[0].identity, "3-remembered"))
    assert source.list().videos[0].identity == "3-remembered"
