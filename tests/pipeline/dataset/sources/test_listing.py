import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Config, UsageError
from pipeline.config.dataset_sections import PreprocessConfig
from pipeline.dataset.sources.listing import key_safe, list_videos
from pipeline.dataset.sources.source_warnings import source_warnings


@pytest.fixture
def source(tmp_path):
    return Source(tmp_path)


class Source:
    """A folder of small files and the configuration that lists it."""

    def __init__(self, folder):
        self.folder = folder
        self.config = Config(source={"videos": str(folder / "videos")}, storage={"root": str(folder / "out")})

    def add(self, path, data=None):
        """Write a file; without data its content is its own name, since files of one content are one recording."""
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(path.encode() if data is None else data)

    def list(self, limit=0, **source):
        update = {"source": replace(self.config.source, **source), "preprocess": PreprocessConfig(limit=limit)}
        return list_videos(self.config.model_copy(update=update))


def texts(unused):
    return [each.text for each in unused]


def test_media_files_become_streams_and_other_files_are_reported(source):
    for path in ("videos/b/talk.MP4", "videos/a.webm", "videos/voice.m4a", "videos/notes.pdf", "videos/.mp4"):
        source.add(path)
    listing = source.list()
    assert [video.video_id for video in listing.videos] == ["a", "b__talk", "voice"]
    assert listing.videos[1].relative_path == "b/talk.MP4"
    assert listing.videos[1].group == "b__talk"
    assert texts(listing.unused) == [".mp4", "notes.pdf"]


def test_ids_that_collide_are_refused_with_both_paths(source):
    source.add("videos/a.b.mp4")
    source.add("videos/a_b.mp4")
    with pytest.raises(UsageError, match=r"'a\.b\.mp4' and 'a_b\.mp4' would both be called 'a_b'"):
        source.list()


def test_sound_beside_a_video_is_no_input(source):
    """As recorders leave it; alone it is an input, which is rejected with a reason."""
    for path in ("x/a.mp4", "x/a.wav", "x/a.FLAC", "b.wav", "x/b.mp4"):
        source.add(f"videos/{path}")
    listing = source.list()
    assert [video.video_id for video in listing.videos] == ["b", "x__a", "x__b"]
    assert {video.uri.rpartition(".")[2] for video in listing.videos} == {"mp4", "wav"}
    assert texts(listing.unused) == [
        "x/a.FLAC: sound beside x/a.mp4; only the sound inside the video is used",
        "x/a.wav: sound beside x/a.mp4; only the sound inside the video is used",
    ]
    source.add("videos/x/a.mkv")
    with pytest.raises(UsageError, match=r"'x/a\.mkv' and 'x/a\.mp4' would both be called 'x__a'"):
        source.list()


def test_one_stem_in_two_folders_is_two_videos(source):
    source.add("videos/x/talk.mp4")
    source.add("videos/y/talk.mp4")
    assert [video.video_id for video in source.list().videos] == ["x__talk", "y__talk"]


@given(st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=300))
def test_ids_are_safe_for_any_path(path):
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,120}", key_safe(f"{path.strip('/.') or 'x'}.mp4"))


def test_long_and_foreign_names_stay_distinct():
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
    with pytest.raises(UsageError, match=r"no video under source\.videos .* \(1 file,"):
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
    assert texts(listing.unused) == ["labels a.csv: no such video"]


def test_labels_may_lie_beside_the_videos(source):
    source.add("videos/a.mp4")
    source.add("videos/a.csv")
    source.add("videos/manifest.csv", b"video,group,split\na,anna,val\n")
    folder = str(source.folder / "videos")
    listing = source.list(labels=folder, manifest=f"{folder}/manifest.csv")
    assert (listing.videos[0].group, listing.videos[0].split) == ("anna", "val")
    assert texts(listing.unused) == []


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
        ("unlabelled", "", "unlabelled", "test"),
        ("v2", "", "v2", "val"),
        ("v3_left", "", "v3_left", "train"),
    ]
    assert listing.videos[0].uri == listing.videos[1].uri
    assert texts(listing.unused) == ["labels VA/Validation_Set/gone.txt: no such video"]


def test_affwild2_lists_name_the_test_set(source):
    for path in ("videos/v1.mp4", "videos/v2.mp4", "videos/v3.mp4", "videos/v4.mp4", "labels/Train_Set/v1.txt"):
        source.add(path)
    source.add("lists/Train_Set.txt", b"v1\r\n")
    source.add("lists/VA_test_set_release.txt", b"\xef\xbb\xbfv2_left\nv2_right\n\nv3.mp4\ngone\n")
    kind = {"kind": "affwild2", "labels": str(source.folder / "labels"), "lists": str(source.folder / "lists")}
    listing = source.list(**kind)
    assert [(v.key, v.split, bool(v.labels_uri)) for v in listing.videos] == [
        ("v1", "train", True),
        ("v2_left", "test", False),
        ("v2_right", "test", False),
        ("v3", "test", False),
        ("v4", "test", False),
    ]
    assert texts(listing.unused) == ["list of test: no video gone"]
    source.add("lists/test_more.txt", b"v1\n")
    with pytest.raises(
        UsageError, match=r"v1 is in two splits: Train_Set\.txt, row 1 \(train\) and test_more\.txt, row 1"
    ):
        source.list(**kind)
    (source.folder / "lists/test_more.txt").unlink()
    source.add("lists/Train_Set.txt", b"")
    source.add("lists/validation.txt", b"v1\n")
    with pytest.raises(UsageError, match=r"are for train, but a list of source\.lists has v1 in val"):
        source.list(**kind)


def test_lists_split_a_folder_too(source):
    for path in ("videos/x/a.mp4", "videos/b.mp4"):
        source.add(path)
    source.add("lists/val.txt", b"x/a\n")
    source.add("lists/test.txt", b"b\n")
    listing = source.list(lists=str(source.folder / "lists"))
    assert [(v.key, v.split) for v in listing.videos] == [("b", "test"), ("x__a", "val")]
    source.add("lists/mine.txt", b"b\n")
    with pytest.raises(UsageError, match=r"mine\.txt: the name of a list must say which split it is"):
        source.list(lists=str(source.folder / "lists"))
    with pytest.raises(UsageError, match=r"source\.lists .* does not exist"):
        source.list(lists=str(source.folder / "none"))


def test_recola_has_a_file_of_gold_per_dimension(source):
    for path in ("videos/train_1.mp4", "videos/dev_2.mp4", "videos/test_3.mp4"):
        source.add(path)
    for name in ("train_1", "dev_2"):
        for value in ("arousal", "valence"):
            source.add(f"labels/ratings_gold_standard/{value}/{name}.csv", value.encode())
    source.add("labels/ratings_individual/train_1.csv")
    kind = {"kind": "recola", "labels": str(source.folder / "labels")}
    listing = source.list(**kind)
    found = [
        (v.key, v.split, v.labels_uri.rpartition("standard/")[2], v.arousal_uri.rpartition("standard/")[2])
        for v in listing.videos
    ]
    assert found == [
        ("dev_2", "val", "valence/dev_2.csv", "arousal/dev_2.csv"),
        ("test_3", "test", "", ""),
        ("train_1", "train", "valence/train_1.csv", "arousal/train_1.csv"),
    ]
    assert texts(listing.unused) == ["labels ratings_individual/train_1.csv: not <valence|arousal>/<video>.csv"]
    before = listing.content_ids
    source.add("labels/ratings_gold_standard/arousal/dev_2.csv", b"other")
    assert {key for key in before if source.list(**kind).content_ids[key] != before[key]} == {"labels dev_2"}
    (source.folder / "labels/ratings_gold_standard/arousal/dev_2.csv").unlink()
    with pytest.raises(UsageError, match=r"dev_2\.mp4 has labels in .*valence/dev_2\.csv alone; both are needed"):
        source.list(**kind)


def test_affwild2_persons_of_one_video_in_two_splits_are_refused(source):
    for path in ("videos/v1.mp4", "labels/Train_Set/v1_left.txt", "labels/Validation_Set/v1_right.txt"):
        source.add(path)
    with pytest.raises(UsageError, match="group 'v1' is in two splits: v1_left in train, v1_right in val"):
        source.list(kind="affwild2", labels=str(source.folder / "labels"))


def test_identities_follow_the_bytes_of_videos_and_labels(source):
    source.add("videos/a.mp4", b"one")
    source.add("labels/a.csv", b"frame,valence,arousal\n")
    labels = str(source.folder / "labels")
    first = source.list(labels=labels).content_ids
    assert source.list(labels=labels).content_ids == first
    source.add("videos/a.mp4", b"two")
    second = source.list(labels=labels).content_ids
    assert {key for key in first if first[key] != second[key]} == {"stream a"}
    source.add("labels/a.csv", b"frame,valence,arousal\n0,0,0\n")
    assert {key for key in first if second[key] != source.list(labels=labels).content_ids[key]} == {"labels a"}


def test_a_known_file_is_not_read_again(source):
    source.add("videos/a.mp4", b"one")
    first = source.list()
    cache = source.folder / "out/cache/content_ids.json"
    assert first.videos[0].content_id in cache.read_text()
    cache.write_text(cache.read_text().replace(first.videos[0].content_id, "3-remembered"))
    assert source.list().videos[0].content_id == "3-remembered"


def test_a_label_file_instead_of_their_folder_is_refused(source):
    source.add("videos/a.mp4")
    source.add("labels/a.csv", b"frame,valence,arousal\n0,0,0\n")
    file = str(source.folder / "labels/a.csv")
    with pytest.raises(UsageError, match=r"^source\.labels .*a\.csv is a file; give the folder"):
        source.list(labels=file)


def test_videos_without_a_label_file_are_named_beside_those_that_have_one(source):
    for name in "abcde":
        source.add(f"videos/{name}.mp4")
    assert source_warnings(source.list().videos, ()) == ()
    source.add("labels/b.csv", b"frame,valence,arousal\n0,0,0\n")
    listing = source.list(labels=str(source.folder / "labels"))
    assert source_warnings(listing.videos, ()) == ("4 videos have no label file: a, c, d and 1 more",)
