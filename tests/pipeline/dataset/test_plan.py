from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Config
from pipeline.dataset.plan import bytes_per_s, digest, estimate, plan_from_json, plan_shards, plan_text, plan_to_json
from pipeline.records import ShardPlan, Video
from pipeline.sections import ShardsConfig


def video(name, size=1000, split="train"):
    return Video(name, f"{name}.mp4", f"/videos/{name}.mp4", size, f"{size}-{name}", group=name, split=split)


def config(**shards):
    return Config(shards=ShardsConfig(**shards))


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.sampled_from(["train", "val", "test"])), max_size=60),
    st.integers(1, 9),
    st.randoms(),
)
def test_every_stream_is_in_one_shard_of_its_split_whatever_the_order(streams, max_videos, random):
    videos = [video(f"v{n:02d}", size, split) for n, (size, split) in enumerate(streams)]
    plans = plan_shards(videos, config(max_videos=max_videos))
    assert sorted(v.key for plan in plans for v in plan.videos) == [v.key for v in videos]
    assert all(v.split == plan.split for plan in plans for v in plan.videos)
    assert all(1 <= len(plan.videos) <= max_videos for plan in plans)
    shuffled = random.sample(videos, len(videos))
    assert plan_shards(shuffled, config(max_videos=max_videos)) == plans


def test_shards_are_filled_to_their_size():
    second = 125_000  # bytes of a source file that are taken for one second of video
    minute_mb = 60 * bytes_per_s(Config()) / 1e6
    videos = [video(f"v{n}", 60 * second) for n in range(10)]
    plans = plan_shards(videos, config(target_mb=3.5 * minute_mb))
    assert [len(plan.videos) for plan in plans] == [3, 3, 3, 1]
    assert [plan.name for plan in plans] == ["train-00000", "train-00001", "train-00002", "train-00003"]


def test_the_number_of_workers_changes_nothing():
    videos = [video(f"v{n}") for n in range(9)]
    few, many = config(max_videos=2), config(max_videos=2).model_copy()
    many = many.model_copy(update={"cluster": replace(many.cluster, num_workers=64)})
    assert plan_shards(videos, few) == plan_shards(videos, many)


def test_a_plan_travels_as_ascii_json():
    plan = ShardPlan("val-00001", "val", (video("a"), replace(video("b"), uri="/vid\udce9os/Zoë\n.mp4")))
    assert plan_to_json(plan).isascii()
    assert plan_from_json(plan_to_json(plan)) == plan


def test_a_digest_follows_the_streams_and_not_their_place():
    plan = ShardPlan("train-00000", "train", (video("a"), video("b")))
    moved = replace(plan, videos=tuple(replace(v, uri="s3://elsewhere/" + v.uri) for v in plan.videos))
    assert digest(moved) == digest(plan)
    others = [
        replace(plan, name="train-00001"),
        replace(plan, videos=plan.videos[:1]),
        replace(plan, videos=(replace(plan.videos[0], identity="2-x"), plan.videos[1])),
        replace(plan, videos=(replace(plan.videos[0], group="anna"), plan.videos[1])),
    ]
    assert digest(plan) not in {digest(other) for other in others}


def test_estimates_rest_on_known_durations_where_there_are_any():
    videos = [video("a", 1000), video("b", 3000)]
    known = estimate(videos, {"a": 10.0}, Config())
    assert known.bytes == pytest.approx(40 * bytes_per_s(Config()))
    assert "the durations of 1 of 2 videos" in known.basis
    assert "assumed" in estimate(videos, {}, Config()).basis
    assert estimate([], {}, Config()).bytes == 0


def test_the_plan_in_words():
    videos = [video("a"), replace(video("b"), group="a"), video("c", split="test")]
    text = "\n".join(plan_text(plan_shards(videos, Config()), ["notes.pdf"], estimate(videos, {"a": 60.0}, Config())))
    for words in ("3 videos, 0 with labels, in 2 shards", "train 2 videos of 1 groups in 1 shards", "val   0 videos"):
        assert words in text
    assert "ignored: notes.pdf" in text
    assert "0.05 h in all" in text
