"""Splits of groups that nobody named: by hash, or balanced by duration and labels."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.dataset_sections import SplitConfig
from pipeline.dataset.plan.assign_splits import assign_splits, hashed_split, is_balanced, require_scanned
from pipeline.dataset.plan.shard_plan import ScanResult
from pipeline.records import Video

HASH = SplitConfig(method="hash", val=0.2, test=0.2)
BALANCED = SplitConfig(method="balanced", val=0.2, test=0.2)
DURATIONS_S = st.lists(st.floats(0.5, 4000), min_size=3, max_size=60)


def video(name, group="", split="", labelled=True):
    labels = f"/{name}.csv" if labelled else ""
    return Video(name, f"{name}.mp4", f"/{name}.mp4", 1, "1-0", group=group or name, split=split, labels_uri=labels)


def many(number):
    return [video(f"v{n:03d}") for n in range(number)]


def splits_of(videos, config, durations_s=None):
    lengths = durations_s or [10.0] * len(videos)
    assigned = assign_splits(videos, {v.key: s for v, s in zip(videos, lengths, strict=True)}, config)
    return {video.key: video.split for video in assigned}


def seconds(videos, durations_s, splits):
    return {s: sum(d for v, d in zip(videos, durations_s, strict=True) if splits[v.key] == s) for s in ("val", "test")}


def test_hashed_shares_of_many_groups_are_near_those_asked_for():
    splits = [hashed_split(f"person {n}", HASH) for n in range(5000)]
    assert splits.count("test") / 5000 == pytest.approx(0.2, abs=0.02)
    assert splits.count("val") / 5000 == pytest.approx(0.2, abs=0.02)
    assert splits != [hashed_split(f"person {n}", replace(HASH, seed=1)) for n in range(5000)]


@given(st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=20), st.data())
def test_a_hashed_split_does_not_depend_on_the_other_groups(names, data):
    some = data.draw(st.sets(st.sampled_from(sorted(names)), min_size=1))
    all_of_them = splits_of([video(n) for n in sorted(names)], HASH)
    assert all(all_of_them[n] == split for n, split in splits_of([video(n) for n in sorted(some)], HASH).items())


def test_small_sources_are_balanced_and_large_ones_hashed():
    assert is_balanced(199, SplitConfig())
    assert not is_balanced(200, SplitConfig())
    assert is_balanced(10**5, BALANCED)
    assert not is_balanced(3, HASH)
    large = many(200)
    assert splits_of(large, SplitConfig()) == splits_of(large, SplitConfig(method="hash"))
    assert Counter(splits_of(many(22), SplitConfig()).values()) == {"train": 16, "val": 3, "test": 3}


@given(DURATIONS_S, st.randoms())
def test_balanced_splits_meet_the_shares_whatever_the_order(durations_s, random):
    videos = many(len(durations_s))
    splits = splits_of(videos, BALANCED, durations_s)
    assert set(splits.values()) == {"train", "val", "test"}
    for length_s in seconds(videos, durations_s, splits).values():
        assert abs(length_s - 0.2 * sum(durations_s)) <= max(durations_s)
    shuffled = random.sample(list(zip(videos, durations_s, strict=True)), len(videos))
    assert splits_of([v for v, _ in shuffled], BALANCED, [d for _, d in shuffled]) == splits


def test_many_balanced_groups_meet_the_shares_closely():
    durations_s = [5.0 + n % 37 for n in range(150)]
    videos = many(150)
    for length_s in seconds(videos, durations_s, splits_of(videos, BALANCED, durations_s)).values():
        assert length_s / sum(durations_s) == pytest.approx(0.2, abs=0.01)


def test_one_long_video_is_left_for_training():
    videos, durations_s = many(12), [3600.0, *[60.0] * 11]
    splits = splits_of(videos, BALANCED, durations_s)
    assert splits["v000"] == "train"
    assert min(Counter(splits.values())["val"], Counter(splits.values())["test"]) >= 4


def test_a_split_is_not_one_video_where_shorter_ones_would_do():
    videos, durations_s = many(26), [18.0] * 6 + [3.0] * 20
    for seed in range(20):
        counts = Counter(splits_of(videos, replace(BALANCED, seed=seed), durations_s).values())
        assert min(counts["val"], counts["test"]) >= 6


def test_the_seed_matters():
    assert len({str(splits_of(many(20), replace(BALANCED, seed=seed))) for seed in range(5)}) == 5


def test_labelled_groups_go_to_every_split():
    for seed in range(20):
        videos = [video(f"v{n}", labelled=n < 3) for n in range(30)]
        splits = splits_of(videos, replace(BALANCED, seed=seed))
        assert {splits[f"v{n}"] for n in range(3)} == {"train", "val", "test"}
        assert Counter(splits.values()) == {"train": 18, "val": 6, "test": 6}


def test_too_few_groups_train_and_choose_a_checkpoint_first():
    assert Counter(splits_of(many(1), BALANCED).values()) == {"train": 1}
    assert Counter(splits_of(many(2), BALANCED).values()) == {"train": 1, "val": 1}
    assert Counter(splits_of(many(2), SplitConfig(method="balanced", val=0.5, test=0.5)).values()) == {
        "val": 1,
        "test": 1,
    }
    assert Counter(splits_of(many(9), SplitConfig(method="balanced", val=0, test=0)).values()) == {"train": 9}


def test_unreadable_videos_fill_no_split():
    for seed in range(20):
        config = replace(BALANCED, seed=seed)
        videos = many(6)
        splits = splits_of(videos, config, [0.0, 0.0, 0.0, 9.0, 9.0, 9.0])
        assert {splits[f"v00{n}"] for n in (3, 4, 5)} == {"train", "val", "test"}
        assert splits["v000"] == hashed_split("v000", config)


def test_named_splits_stay_and_new_groups_fill_up():
    old = [video(f"old{n}", split="train") for n in range(8)] + [video("kept", split="val")]
    videos = [*old, *(video(f"new{n}") for n in range(4))]
    splits = splits_of(videos, BALANCED)
    assert all(splits[v.key] == v.split for v in old)
    assert Counter(splits[f"new{n}"] for n in range(4)) == {"val": 2, "test": 2}


def test_a_group_stays_together():
    videos = [video(f"v{n}", group=f"person{n % 5}") for n in range(20)]
    splits = splits_of(videos, BALANCED)
    assert len({(v.group, splits[v.key]) for v in videos}) == 5
    assert set(splits.values()) == {"train", "val", "test"}


def unknown_of(videos, *names):
    return {v.key: ScanResult(0.0 if v.key in names else 1.0, complete=v.key not in names) for v in videos}


def test_balanced_splits_need_the_lengths_of_all_files():
    videos = [video(f"v{n}") for n in range(5)]
    words = (
        r"^2 files could not be scanned now \(v1\.mp4, v3\.mp4\), .*run the same command again.*manifest.*"
        r"--splits\.method hash$"
    )
    with pytest.raises(RuntimeError, match=words):
        require_scanned(videos, unknown_of(videos, "v1", "v3"), SplitConfig())
    require_scanned(videos, unknown_of(videos), SplitConfig())
    unreadable = unknown_of(videos) | {"v1": ScanResult(), "v2": ScanResult(9.0, complete=False)}
    require_scanned(videos, unreadable, SplitConfig())


def test_other_splits_do_not_wait_for_a_file():
    videos = [video(f"v{n}") for n in range(5)]
    require_scanned(videos, unknown_of(videos, "v1"), SplitConfig(method="hash"))
    named = [replace(each, split="train") for each in videos]
    require_scanned(named, unknown_of(named, "v1"), SplitConfig())


def test_one_file_with_two_people_is_named_once():
    videos = [replace(video("v1"), person=person) for person in ("left", "right")]
    with pytest.raises(RuntimeError, match=r"^1 file could not be scanned now \(v1\.mp4\)"):
        require_scanned(videos, unknown_of(videos, "v1_left", "v1_right"), SplitConfig())
