"""The data-quality page: its numbers are those of the rows, it stands alone, and names are text."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from pipeline.config import Config, load
from pipeline.dataset.format.dataset_info import DatasetInfo
from pipeline.dataset.format.shard_file import ShardFile, label_grid_of
from pipeline.dataset.report import quality
from pipeline.records import (
    ANNOTATION_DTYPE,
    FRAME_DTYPE,
    NUM_LABEL_BINS,
    Gap,
    SampleRow,
    Segment,
    ShardRecord,
    VideoRow,
    VisibleFace,
)
from tests.support.fake_dataset import make_segment, write_dataset
from tests.support.required import require_or_skip
from tests.support.screenshots import evaluate, find_chromium, screenshot

VOID = {"meta", "link", "br"}
INFO = DatasetInfo("data-1", "/datasets/data-1", "0" * 64, Config(), {}, (), {})


class Balance(HTMLParser):
    """Fails on a tag that is closed out of turn."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def video(name, **changes):
    row = VideoRow(name, "", f"/videos/{name}.mp4", f"group {name}", "train", "ok", "", "", "", 10.0, 10.0, 1.0, 1.0)
    return replace(row, **{"audio_codec": "aac", "seconds_decode": 0.5, "seconds_faces": 0.25, **changes})


def rejected(name, **changes):
    return video(name, **{"status": "rejected", "stage": "probe", "reason": "unreadable", "covered_s": 0.0, **changes})


def sample(split="train", num_frames=100, face=1.0):
    return SampleRow("k", f"{split}-0.tar", 0, 512, "v", "", "g", split, 0.0, 31, num_frames, 1.0, face, 1.0, 0.5)


def record(split, grid):
    return ShardRecord(f"{split}-00000", "0", 512, "0", (), (), label_grid=tuple(np.asarray(grid).ravel().tolist()))


def segment(labels):
    frames = np.zeros(len(labels), FRAME_DTYPE)
    mel, none = np.zeros((4, 2), np.float16), np.zeros(0, ANNOTATION_DTYPE)
    return Segment("v", "", "g", "train", 0.0, 1, 25.0, 0.01, frames, b"", mel, np.array(labels, np.float32), none)


def page(videos, samples=(), records=(), sheets=()):
    text = quality.quality_page(INFO, videos, samples, records, sheets)
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    return text


def full_page(name="a"):
    grid = np.zeros((NUM_LABEL_BINS, NUM_LABEL_BINS), int)
    grid[15, 2] = 9
    videos = [
        video(name, num_cuts=1),
        video("b", reason="partial", stage="decode", detail="cut off", covered_s=4.0),
        rejected("c"),
    ]
    return page(videos, [sample(), sample("test")], [record("train", grid)], ["sheets/a.jpg", "sheets/odd name.jpg"])


def test_the_page_stands_alone_and_is_the_same_each_time():
    text = full_page()
    assert not re.search(r"<script|src=|@import|url\(", text)
    assert full_page() == text


def test_a_browser_shows_it_without_complaint(tmp_path):
    if find_chromium() is None:
        require_or_skip("chromium", "no Chromium on PATH")
    (tmp_path / "quality.html").write_text(full_page())
    screenshot(tmp_path / "quality.html", tmp_path / "quality.png")


@pytest.mark.parametrize("width_px", [390, 1200])
def test_it_fits_a_phone_and_a_desk_and_its_charts_can_be_read(tmp_path, width_px):
    if find_chromium() is None:
        require_or_skip("chromium", "no Chromium on PATH")
    path = tmp_path / "quality.html"
    path.write_text(full_page("a_name_of_a_video_that_is_as_long_as_some_corpora_make_them" * 2))
    assert evaluate(path, "[innerWidth, document.documentElement.scrollWidth]", width_px=width_px) == [width_px] * 2
    beyond_its_card = "b => b.getBoundingClientRect().right > b.closest('.card').getBoundingClientRect().right"
    assert (
        evaluate(path, f"[...document.querySelectorAll('table')].some({beyond_its_card})", width_px=width_px) is False
    )
    heights_px = "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect()).map(b => "
    assert min(evaluate(path, heights_px + "Math.max(b.width, b.height))", width_px=width_px)) >= 12


def test_an_empty_dataset_and_one_without_labels_have_a_page():
    assert "There are no labels." in page([])
    assert "Every input was used." in page([video("a")], [sample()])


def test_names_and_details_are_text_never_markup():
    text = page([video("<img src=x>", face_fraction=0.5), rejected("b", detail="<script>alert(1)</script>")])
    assert "<img" not in text
    assert "<script" not in text
    assert "&lt;script&gt;alert" in text


def test_a_video_is_described_with_its_frames_its_faces_and_all_its_sheets():
    gaps = (Gap("face", 32.5, 41.6, 812, 1040), Gap("sound", 0.0, 2.0, 0, 49))
    faces = (
        VisibleFace(0.0, 32.5, 812, 812, 0.93, 10.0, 20.0, 110.0, 120.0, "followed"),
        VisibleFace(5.0, 90.0, 800, 0, 0.8, 300.0, 20.0, 400.0, 120.0, "<b>another person is visible for longer</b>"),
    )
    row = video("a", duration_s=100.0, num_spans=2, face_fraction=0.4, followed="longest", gaps=gaps, faces=faces)
    text = page([row], sheets=["sheets/a.jpg", "sheets/a_000051200.jpg", "sheets/b_000051200.jpg"])
    assert "0:32.50 to 0:41.60, frames 812 to 1040" in text
    assert "0:00.00 to 0:32.50, 812 clock frames, box 10,20 to 110,120 px, score 0.93" in text
    assert "&lt;b&gt;another person is visible for longer" in text
    assert '<a href="sheets/a_000051200.jpg">0:51.2</a>' in text
    assert "chosen by: longest" in text


def test_another_face_that_stays_is_shown():
    def guest(stop_s):
        return (VisibleFace(0.0, stop_s, 9, 0, 0.9, 0.0, 0.0, 9.0, 9.0, "smaller"),)

    rows = [video("alone"), video("briefly", faces=guest(0.5)), video("b", faces=guest(2)), video("a", faces=guest(9))]
    assert [row.video_id for row in quality.videos_with_other_faces(rows)] == ["a", "b"]
    assert "Other faces are visible too" in page(rows)
    assert "Other faces are visible too" not in page(rows[:2])


def test_ten_thousand_bad_videos_make_no_page_of_megabytes():
    gaps = tuple(Gap("face", 2.0 * i, 2.0 * i + 1, 50 * i, 50 * i + 25) for i in range(100))
    faces = tuple(VisibleFace(0.0, 200.0, 9, 0, 0.9, 0.0, 0.0, 9.0, 9.0, "smaller") for _ in range(20))
    bad = {"duration_s": 3e4, "gaps": gaps, "faces": faces, "detail": "x" * 2000, "num_spans": 50}
    rows = [video(f"v{i}", face_fraction=i / 1e4, reason="partial" if i % 2 else "", **bad) for i in range(9000)]
    rows += [rejected(f"r{i}", reason=f"reason {i % 11}", **bad) for i in range(1000)]
    sheets = [f"sheets/v{i}_{j:09d}.jpg" for i in range(200) for j in range(0, 50_000, 1000)]
    text = page(rows, sheets=sheets)
    assert len(text) < 400_000
    assert "and 96 shorter, 96.0 s in all" in text
    assert "The 20 that lost most, of 4,500." in text


def test_stages_have_their_share_and_their_speed():
    decode, faces = (cost for cost in quality.stage_costs([video("a"), video("b")]) if cost.name in ("decode", "faces"))
    assert (decode.seconds, faces.seconds) == (1.0, 0.5)
    assert (decode.share, faces.share) == pytest.approx((2 / 3, 1 / 3))
    assert (decode.times_real_time, faces.times_real_time) == (20.0, 40.0)
    assert quality.stage_costs([video("a")])[-1].times_real_time == pytest.approx(10 / 0.75)
    assert quality.stage_costs([]) == ()


def test_coverage_weighs_samples_by_their_frames():
    samples = [sample(num_frames=300), sample(num_frames=100, face=0.0)]
    train = quality.split_summaries([video("a"), rejected("b")], samples)[0]
    assert (train.num_videos, train.num_rejected, train.num_groups, train.num_samples) == (2, 1, 2, 2)
    assert dict(train.coverage) == pytest.approx({"face": 0.75, "sound": 1.0, "labels": 0.5})
    assert train.duration_s == pytest.approx(10)


def test_reasons_are_counted_and_the_most_frequent_is_first():
    rows = [rejected(f"v{i}") for i in range(9)] + [rejected("w", stage="faces", reason="no_face"), video("ok")]
    causes = quality.rejection_causes(rows, {})
    assert [(cause.reason, cause.num_videos, len(cause.examples)) for cause in causes] == [
        ("unreadable", 9, quality.MAX_EXAMPLES),
        ("no_face", 1, 1),
    ]


def test_what_was_lost_is_on_the_page():
    text = full_page()
    assert "unreadable" in text
    assert "cut off" in text
    assert 'href="sheets/odd%20name.jpg"' in text
    assert '<a href="sheets/a.jpg">a</a>' in text


def test_low_coverage_videos_are_those_with_the_least_face_or_sound():
    rows = [video("good"), video("half", face_fraction=0.5), video("mute", audio_codec="", audio_fraction=0.0)]
    low = quality.low_coverage_videos([*rows, video("deaf", audio_fraction=0.1)])
    assert [row.video_id for row in low] == ["mute", "deaf", "half"], "a file without a sound stream has no sound"


def test_digital_silence_is_no_sound_and_pauses_in_speech_are():
    rows = [
        video("pauses", silent_fraction=0.4),
        video("dead", silent_fraction=0.97),
        video("empty", silent_fraction=1),
    ]
    assert [row.video_id for row in quality.low_coverage_videos(rows)] == ["empty", "dead"]
    assert "sound 100.0%, 97.0% of it silent" in page(rows)


def test_videos_that_lack_next_to_nothing_are_not_listed():
    almost = [video("a", audio_fraction=0.993), video("b", face_fraction=0.95), video("c", face_fraction=0.949)]
    assert [row.video_id for row in quality.low_coverage_videos(almost)] == ["c"]
    assert "in less than 95% of their time" in page(almost)


def test_a_face_that_is_followed_in_few_frames_is_not_in_none():
    face = VisibleFace(1.0, 9.0, 12, 3, 0.9, 0.0, 0.0, 9.0, 9.0, "followed")
    text = page([video("a", face_fraction=3e-5, faces=(face,))])
    assert "face &lt; 0.1%" in text
    assert "0:01.00 to 0:09.00, 3 of 12 clock frames" in text


def test_every_bad_video_can_be_found_from_the_page():
    rows = [rejected(f"r{i:03}", detail=f"why {i:03}") for i in range(9)]
    rows += [video(f"p{i:03}", reason="partial", detail="cut off") for i in range(300)]
    text = page(rows)
    assert all(f"why {i:03}" in text for i in range(9))
    assert "<summary>4 more videos</summary>" in text
    assert all(f"<b>p{i:03}</b>" in text for i in range(quality.MAX_ROWS + quality.MAX_LISTED))
    assert "80 further videos, and these, are rows of <code>videos.parquet</code>" in text
    assert "<summary>1 more video</summary>" in page(rows[:6])


def test_one_is_not_many_and_little_is_not_nothing():
    text = page([video("a", duration_s=4.0, covered_s=4.0)], [sample()])
    assert "<span>video of 1 group</span>" in text
    assert "<td>4.0 s</td>" in text
    assert "<td>0.00</td>" not in text


def test_the_labels_of_a_shard_are_counted_where_they_lie(tmp_path):
    nan = np.nan
    one = segment([[0.9, 0.9], [-1, 1], [1, -1], [0.05, 0.05], [nan, 0.0]])  # the first is preroll
    last = NUM_LABEL_BINS - 1
    expected = {(0, last): 1, (last, 0): 1, (NUM_LABEL_BINS // 2, NUM_LABEL_BINS // 2): 1}
    assert {tuple(at): label_grid_of(one)[tuple(at)] for at in np.argwhere(label_grid_of(one))} == expected

    def breaks():
        yield one
        raise ValueError

    with ShardFile(tmp_path / "s.tar") as tar:
        tar.add_video([one])
        with pytest.raises(ValueError):
            tar.add_video(breaks())
    np.testing.assert_array_equal(tar.label_grid, label_grid_of(one))


def test_label_distributions_add_up_the_shards_of_a_split():
    grid = np.zeros((NUM_LABEL_BINS, NUM_LABEL_BINS), int)
    grid[0, 0], grid[NUM_LABEL_BINS - 1, 0] = 1, 4
    (distribution,) = quality.label_distributions([record("val", grid), record("val", grid), record("test", 0 * grid)])
    assert (distribution.split, distribution.num_frames) == ("val", 10)
    assert distribution.cells == ((0, 0, 0.5, 2), (NUM_LABEL_BINS - 1, 0, 1.0, 8))
    assert distribution.means == pytest.approx((0.57, -0.95))
    assert distribution.valence[-1] == 1.0


def test_a_finished_dataset_has_its_page_and_a_card_with_the_cost_of_each_stage(tmp_path):
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets/talker.jpg").write_bytes(b"a picture")
    lost = rejected("gone", split="test", stage="faces", reason="no_face", detail="nobody there")
    write_dataset(tmp_path, load(None, {"name": "talk"}), {"test": [make_segment(split="test")]}, [lost])
    text, card = (tmp_path / "quality.html").read_text(), (tmp_path / "README.md").read_text()
    assert 'href="sheets/talker.jpg"' in text
    assert "nobody there" in text
    assert "2 inputs: 1 used, 1 rejected" in text
    assert "| decode | pictures onto the clock | 0.5 | 66.7% |" in card
    assert "`quality.html`" in card
