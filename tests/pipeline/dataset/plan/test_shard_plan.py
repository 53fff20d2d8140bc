import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Config
from pipeline.config.dataset_sections import ShardsConfig
from pipeline.dataset.plan.shard_plan import (
    ScanResult,
    bytes_per_s,
    max_span_frames,
    plan_digest,
    plan_shards,
)
from pipeline.records import AnchorPoint, ShardPlan, Span, Video
from pipeline.records.serialize import from_json, to_json

RATE_HZ, TILE = 25.0, 512  # of the default configuration
HOURS_S = 3600.0


def video(name, split="train", **changes):
    path = f"{name}.mp4"
    return Video(name, path, f"/videos/{path}", 1000, f"1000-{name}", group=name, split=split, **changes)


def config(**shards):
    """Settings under which shards are as large as they may be, unless `min_shards` is given."""
    return Config(shards=ShardsConfig(**{"min_shards": 1, **shards}))


def plan_of(durations_s, settings, splits=None):
    """The plan of videos with these durations, and the videos."""
    videos = [video(f"v{n:05d}", splits[n] if splits else "train") for n in range(len(durations_s))]
    scans = {v.key: ScanResult(duration_s) for v, duration_s in zip(videos, durations_s, strict=True)}
    return plan_shards(videos, scans, settings), videos, scans


def frames_of(span, duration_s):
    """Clock frames of a span, an open one up to the end of its video."""
    total = -int(-duration_s * RATE_HZ // 1)
    return range(span.start_frame, span.stop_frame if span.stop_frame >= 0 else max(total, span.start_frame))


@given(
    st.lists(
        st.tuples(st.one_of(st.floats(0, 30), st.floats(30, 9 * HOURS_S)), st.sampled_from(["train", "val", "test"])),
        max_size=40,
    ),
    st.integers(1, 9),
    st.floats(0.2, 60),
    st.floats(1, 400),
    st.randoms(),
)
def test_every_frame_is_in_one_span_of_one_shard_of_its_split(streams, max_videos, span_minutes, target_mb, random):
    settings = config(max_videos=max_videos, span_minutes=span_minutes, target_mb=target_mb)
    durations, splits = [s[0] for s in streams], [s[1] for s in streams]
    plans, videos, scans = plan_of(durations, settings, splits)
    by_stream = {v.key: [] for v in videos}
    for plan in plans:
        assert 1 <= len(plan.spans) <= max_videos
        for span in plan.spans:
            assert span.video.split == plan.split
            by_stream[span.video.key].append(span)
    for key, spans in by_stream.items():
        assert spans[0].start_frame == 0
        assert spans[-1].stop_frame == -1
        assert all(a.stop_frame == b.start_frame for a, b in itertools.pairwise(spans))
        assert all(span.start_frame % TILE == 0 for span in spans)
        if len(spans) > 1:
            assert all(0 < len(frames_of(span, scans[key].duration_s)) <= max_span_frames(settings) for span in spans)
    shuffled = random.sample(videos, len(videos))
    assert plan_shards(shuffled, scans, settings) == plans


@given(
    st.lists(st.floats(0.1, 10 * HOURS_S), min_size=1, max_size=40),
    st.floats(5, 60),
    st.floats(1, 60),
)
def test_shards_are_of_bounded_and_like_size(durations_s, target_mb, span_minutes):
    settings = config(max_videos=10**6, target_mb=target_mb, span_minutes=span_minutes)
    plans, _, scans = plan_of(durations_s, settings)

    def size_mb(plan):
        frames = sum(len(frames_of(span, scans[span.video.key].duration_s)) for span in plan.spans)
        return frames / RATE_HZ * bytes_per_s(settings) / 1e6

    sizes = [size_mb(plan) for plan in plans]
    tile_mb = TILE / RATE_HZ * bytes_per_s(settings) / 1e6
    assert all(size <= max(target_mb, tile_mb) + 0.01 * len(durations_s) for size in sizes)
    assert all(a + b > target_mb - 0.01 * len(durations_s) for a, b in itertools.pairwise(sizes))


def test_ten_hours_in_one_file_and_thousands_of_clips_both_balance():
    one, _, _ = plan_of([10 * HOURS_S], config())
    clips, _, _ = plan_of([4.0] * 5000, Config())
    assert len(one) >= 16
    assert max(len(plan.spans) for plan in one) <= 4
    assert {len(plan.spans) for plan in clips[:-1]} == {64}
    mixed, _, scans = plan_of([4.0] * 500 + [10 * HOURS_S], Config())
    seconds = [
        sum(len(frames_of(span, scans[span.video.key].duration_s)) / RATE_HZ for span in plan.spans) for plan in mixed
    ]
    assert max(seconds) < sum(seconds) / 16


def test_a_video_longer_than_is_allowed_is_one_span():
    plans, _, _ = plan_of([13 * HOURS_S, 60.0], config())
    assert [len(plan.spans) for plan in plans] == [2]


def test_a_span_takes_its_part_of_the_anchor():
    anchor = tuple(AnchorPoint(10.0 * n, n, 0, n + 1, 1) for n in range(200))
    videos = [video("long")]
    (plan,) = plan_shards(videos, {"long": ScanResult(2000.0, anchor)}, config(span_minutes=12, target_mb=1000))
    first, second, third = plan.spans
    assert first.anchor[0].time_s == 0.0
    assert (second.start_frame / RATE_HZ - 10) <= second.anchor[0].time_s <= second.start_frame / RATE_HZ
    assert second.stop_frame / RATE_HZ <= second.anchor[-1].time_s <= second.stop_frame / RATE_HZ + 10
    assert third.anchor[-1].time_s == 1990.0
    lonely = (AnchorPoint(5.0, 0, 0, 1, 1),)
    (plan,) = plan_shards(videos, {"long": ScanResult(2000.0, lonely)}, config(span_minutes=12, target_mb=1000))
    assert [span.anchor for span in plan.spans] == [lonely] * 3


def test_shards_are_filled_to_their_size():
    minute_mb = 60 * bytes_per_s(Config()) / 1e6
    plans, _, _ = plan_of([60.0] * 10, config(target_mb=3.5 * minute_mb))
    assert [len(plan.spans) for plan in plans] == [3, 3, 3, 1]
    assert [plan.name for plan in plans] == ["train-00000", "train-00001", "train-00002", "train-00003"]


def test_the_number_of_workers_changes_nothing():
    few = config(max_videos=2)
    many = few.model_copy(update={"cluster": replace(few.cluster, num_workers=64)})
    assert plan_of([9.0] * 9, few)[0] == plan_of([9.0] * 9, many)[0]


def test_a_plan_travels_as_ascii_json():
    odd = replace(video("b"), uri="/vid\udce9os/Zoë\n.mp4")
    spans = (Span(video("a")), Span(odd, 512, 1024, (AnchorPoint(1.5, 0.25, 1, 2, 3),)))
    plan = ShardPlan("val-00001", "val", spans)
    assert to_json(plan).isascii()
    assert from_json(ShardPlan, to_json(plan)) == plan


@given(
    st.lists(st.one_of(st.just(0.0), st.floats(1, 100), st.floats(100, 5000)), min_size=1, max_size=90),
    st.integers(1, 40),
)
def test_a_small_split_gives_work_to_many_workers(durations_s, min_shards):
    settings = config(min_shards=min_shards)
    plans, _, _ = plan_of(durations_s, settings)
    whole, _, _ = plan_of(durations_s, config())
    spans = [span for plan in plans for span in plan.spans]
    assert spans == [span for plan in whole for span in plan.spans]
    assert len(plans) >= min(min_shards, len(spans))


def test_eighteen_clips_are_eighteen_shards():
    plans, _, _ = plan_of([10.0] * 18, Config())
    assert [len(plan.spans) for plan in plans] == [1] * 18
    plans, _, _ = plan_of([10.0] * 64, Config())
    assert [len(plan.spans) for plan in plans] == [2] * 32


def test_small_shards_are_of_like_size():
    durations_s = [3.0 + n % 7 for n in range(200)]
    plans, _, scans = plan_of(durations_s, Config())
    seconds = [sum(scans[span.video.key].duration_s for span in plan.spans) for plan in plans]
    assert 32 <= len(plans) <= 40
    assert max(seconds) <= sum(durations_s) / 32 * 1.001


def test_many_clips_fill_their_shards_as_before():
    assert {len(plan.spans) for plan in plan_of([4.0] * 100_000, Config())[0][:-1]} == {64}


def test_streams_without_a_split_are_not_lost():
    lost = video("a", split="")
    with pytest.raises(AssertionError, match="would be in no shard"):
        plan_shards([lost], {"a": ScanResult(1.0)}, Config())


def test_a_digest_follows_the_streams_and_not_their_uri():
    a, b = Span(video("a")), Span(video("b"), 0, 512, (AnchorPoint(1, 2, 3, 4, 5),))
    plan = ShardPlan("train-00000", "train", (a, b))

    def moved(span, **changes):
        return replace(span, video=replace(span.video, **changes))

    elsewhere = tuple(moved(span, uri="s3://elsewhere/" + span.video.uri, labels_uri="/x") for span in plan.spans)
    assert plan_digest(replace(plan, spans=elsewhere)) == plan_digest(plan)
    others = [
        replace(plan, name="train-00001"),
        replace(plan, spans=(a,)),
        replace(plan, spans=(moved(a, content_id="2-x"), b)),
        replace(plan, spans=(moved(a, labels_content_id="2-x"), b)),
        replace(plan, spans=(moved(a, group="anna"), b)),
        replace(plan, spans=(a, replace(b, stop_frame=1024))),
        replace(plan, spans=(a, replace(b, anchor=()))),
    ]
    assert plan_digest(plan) not in {plan_digest(other) for other in others}


def test_a_shard_may_be_smaller_than_a_segment():
    plans, _, scans = plan_of([100.0], config(target_mb=0.001))
    assert {len(frames_of(span, 100.0)) for plan in plans for span in plan.spans} <= {512, 452}
    assert sum(len(plan.spans) for plan in plans) == 5
    assert scans["v00000"].duration_s == pytest.approx(100.0)


def test_all_spans_of_a_file_follow_one_another():
    """Also where another file's name lies between those of its streams."""
    left, right = (replace(video("a"), person=person) for person in ("left", "right"))
    streams = [left, video("a_me"), right]
    scans = {stream.key: ScanResult(2000.0) for stream in streams}
    plans = plan_shards(streams, scans, config(max_videos=1))
    files = [span.video.video_id for plan in plans for span in plan.spans]
    assert [name for name, _ in itertools.groupby(files)] == ["a", "a_me"]
