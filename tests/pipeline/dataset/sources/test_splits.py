import pytest

from pipeline.config import UsageError
from pipeline.dataset.sources.splits import apply_manifest, read_manifest, spread_splits
from pipeline.records import Video


def video(name, group="", split=""):
    return Video(name, f"{name}.mp4", f"/{name}.mp4", 1, "1-0", group=group or name, split=split)


def manifest(tmp_path, text):
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    return str(path)


def test_a_named_split_holds_for_the_whole_group():
    videos = spread_splits([video("a", "anna", "test"), video("b", "anna"), video("c", "ben")])
    assert [v.split for v in videos] == ["test", "test", ""]


def test_a_group_in_two_splits_is_refused_by_name():
    with pytest.raises(UsageError, match=r"group 'anna' is in two splits: a\.mp4 in train, b\.mp4 in test"):
        spread_splits([video("a", "anna", "train"), video("b", "anna", "test")])


def test_manifest_names_videos_by_path_stem_or_id(tmp_path):
    rows = read_manifest(manifest(tmp_path, "\ufeffvideo,group,split\r\na.mp4,anna,train\r\n\r\nb,ben,\r\nc,,test\r\n"))
    assigned, messages = apply_manifest([video("a"), video("b"), video("c"), video("d")], rows)
    assert [(v.group, v.split) for v in assigned] == [("anna", "train"), ("ben", ""), ("c", "test"), ("d", "")]
    assert messages == []


def test_manifest_rows_without_a_video_are_reported(tmp_path):
    rows = read_manifest(manifest(tmp_path, "video,group,split\nzoe.mp4,zoe,train\n"))
    (unused,) = apply_manifest([video("a")], rows)[1]
    assert unused.text == "manifest row 2: no video 'zoe.mp4' under the source"
    assert (unused.kind, unused.name) == ("manifest", "zoe.mp4")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("video,split,group\n", "row 1: the header is 'video,split,group'"),
        ("video,group,split\na,anna,train\nb,ben,testing\n", "row 3: split is 'testing'; allowed: train, val, test"),
        ("video,group,split\na,train\n", "row 2: 2 cells"),
        (
            "video,group,split\na,ann,train\na,ann,train\na,ann,test\n",
            "row 4: a is of group 'ann', split 'test'; row 2 says group 'ann', split 'train'",
        ),
    ],
)
def test_manifests_of_another_grammar_are_refused_with_the_row(tmp_path, text, words):
    with pytest.raises(UsageError, match=words):
        read_manifest(manifest(tmp_path, text))


def test_a_manifest_that_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"source\.manifest .*none\.csv cannot be read"):
        read_manifest(str(tmp_path / "none.csv"))
