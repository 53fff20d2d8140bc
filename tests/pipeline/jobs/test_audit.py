"""A bad clip can be audited from the outputs alone: which frames, which face, which reason."""

import re
from dataclasses import replace

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.config import load
from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.format.samples import decode_slice
from pipeline.dataset.plan.scan import scan_video
from pipeline.dataset.plan.shard_plan import ScanResult, plan_shards
from pipeline.dataset.sources.listing import list_videos
from pipeline.jobs.workers import shard_builder
from pipeline.media.faces.contact_sheet import BLUE, GREEN, RED
from pipeline.media.faces.detect import Detection
from pipeline.media.ffmpeg_command import find_ffmpeg
from tests.support.media_files import write_media
from tests.support.preprocessing import SMALL, builder_of

NUM_FRAMES, FRAME_MS, SIDE = 320, 20, 40  # 50 frames a second, so that original frames are not those of the clock
LEFT, RIGHT = (60, 100), (220, 90)
ABSENT = range(120, 200)  # original frames without the person on the left
ENTERS = 84  # the person on the right, who stays
SOUND_AT_MS = 1000


class FakeDetector:
    """Takes bright blobs for faces."""

    def detect(self, picture):
        _, _, stats, _ = cv2.connectedComponentsWithStats((picture.y > 120).astype(np.uint8))
        blobs = [tuple(map(float, row[:4])) for row in stats[1:] if row[4] > 100]
        return [Detection((x, y, x + w, y + h), 0.9) for x, y, w, h in sorted(blobs)]


def draw(frame, *, people):
    picture = np.tile(np.linspace(20, 90, 320, dtype=np.uint8), (240, 1))
    for x, y in ([LEFT] if frame not in ABSENT else []) + ([RIGHT] if frame >= ENTERS else []) if people else []:
        picture[y : y + SIDE, x : x + SIDE] = 200
    return picture


def film(path, *, people=True, **sound):
    times = [i * FRAME_MS for i in range(NUM_FRAMES)]
    write_media(path, [draw(i, people=people) for i in range(NUM_FRAMES)], times, **sound)


def cut_off(path):
    """Drop the last third of the bytes; the number of frames that are still there."""
    size = path.stat().st_size * 2 // 3
    with av.open(str(path)) as container:
        left = sum(p.pos < size for p in container.demux(video=0) if p.size)
    path.write_bytes(path.read_bytes()[:size])
    return left


@pytest.fixture(scope="module", params=[10.0, 0.05], ids=["whole", "in spans"])
def audited(request, tmp_path_factory):
    """The folder of a dataset of three bad clips, and how many frames are left of the one that was cut off."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "videos").mkdir()
    tone = 0.3 * np.sin(np.arange(int((NUM_FRAMES * FRAME_MS - SOUND_AT_MS) * 16)) / 10)
    film(folder / "videos/guest.mov", sound=tone.astype(np.float32), sound_at_ms=SOUND_AT_MS)
    film(folder / "videos/empty.mov", people=False)
    film(folder / "videos/torn.mp4", options={"movflags": "faststart"}, video_options={"bf": "0"})
    left = cut_off(folder / "videos/torn.mp4")
    settings = SMALL | {"source": {"videos": str(folder / "videos")}, "storage": {"root": str(folder)}}
    config = load(None, {"name": "audit", **settings, "shards": {"span_minutes": request.param}})
    videos = [replace(video, split="train") for video in list_videos(config).videos]
    tools = {"ffmpeg": find_ffmpeg(), "load_detector": FakeDetector}
    scans = {video.key: scan_video(video, config, **tools) for video in videos}
    uri, toolchain = str(folder / "dataset"), shard_builder.find_toolchain(config)
    worker = shard_builder.ShardBuilder(config, uri, toolchain)
    worker.tools = replace(worker.tools, detector=FakeDetector())
    commit_dataset(uri, config, [worker.build(plan) for plan in plan_shards(videos, scans, config)], toolchain)
    for path in (folder / "videos").iterdir():
        path.unlink()
    return folder / "dataset", left


def row_of(folder, name):
    return next(row for row in pq.read_table(folder / "videos.parquet").to_pylist() if row["video_id"] == name)


def gaps_of(row, missing):
    return [gap for gap in row["gaps"] if gap["missing"] == missing]


def test_a_face_that_leaves_is_reported_with_its_frames(audited):
    folder, _ = audited
    row = row_of(folder, "guest")
    assert (row["status"], row["reason"], row["attempts"]) == ("ok", "", 1)
    (gap,) = gaps_of(row, "face")
    assert (gap["start_s"], gap["stop_s"]) == pytest.approx((ABSENT.start * 0.02, ABSENT.stop * 0.02))
    assert gap["first_frame"] == ABSENT.start
    assert ABSENT.stop - 2 <= gap["last_frame"] < ABSENT.stop
    (mask_finite,) = gaps_of(row, "sound")
    assert (mask_finite["start_s"], mask_finite["stop_s"]) == pytest.approx((0, SOUND_AT_MS / 1000), abs=0.05)
    assert gaps_of(row, "picture") == []


def test_who_was_followed_and_who_was_not_and_why(audited):
    folder, _ = audited
    row = row_of(folder, "guest")
    followed, other = ([f for f in row["faces"] if bool(f["num_followed"]) is chosen] for chosen in (True, False))
    in_spans = row["num_spans"] > 1
    assert row["followed"] == ("longest by anchor" if in_spans else "longest")
    assert sum(face["num_followed"] for face in followed) == (NUM_FRAMES - len(ABSENT)) / 2
    for face in followed:
        assert [face[side] for side in ("x0", "y0", "x1", "y1")] == pytest.approx([60, 100, 100, 140], abs=2)
        assert face["score"] == pytest.approx(0.9)
    (guest,) = other
    assert guest["start_s"] == pytest.approx(ENTERS * 0.02, abs=0.04)
    assert (guest["num_frames"], guest["num_followed"]) == ((NUM_FRAMES - ENTERS) / 2, 0)
    assert [guest["x0"], guest["y0"]] == pytest.approx(RIGHT, abs=2)
    assert guest["reason"] == (
        "4.0 face sides from the anchor, allowed is 1" if in_spans else "another person is visible for longer"
    )


def test_gaps_are_those_of_the_frames_in_the_shards(audited):
    folder, _ = audited
    row = row_of(folder, "guest")
    for sample in pq.read_table(folder / "index.parquet").to_pylist():
        if sample["video_id"] == "guest":
            data = (folder / "shards" / sample["shard"]).read_bytes()[sample["offset"] :][: sample["size"]]
            frames = decode_slice(data).frames[sample["num_preroll"] :]
            for missing, ok in (("face", frames["face_ok"]), ("sound", frames["audio_ok"])):
                within = [
                    any(gap["start_s"] - 1e-6 <= t < gap["stop_s"] - 1e-6 for gap in gaps_of(row, missing))
                    for t in frames["time_s"]
                ]
                assert within == (~ok).tolist()


def test_a_clip_without_a_face_reports_which_frames_were_searched(audited):
    folder, _ = audited
    row = row_of(folder, "empty")
    assert (row["status"], row["stage"], row["reason"]) == ("rejected", "faces", "no_face")
    assert "no face in" in row["detail"]
    (gap,) = gaps_of(row, "face")
    assert (gap["start_s"], gap["stop_s"], gap["first_frame"]) == pytest.approx((0, 6.4, 0))
    assert row["faces"] == []


def test_a_truncated_clip_reports_where_it_ends(audited):
    folder, left = audited
    row = row_of(folder, "torn")
    assert (row["status"], row["stage"], row["reason"]) == ("ok", "decode", "partial")
    assert row["num_source_frames"] == left
    promised = re.search(r"ends at ([\d.]+) s, its header promises ([\d.]+) s", row["detail"])
    assert [float(found) for found in promised.groups()] == pytest.approx([left * 0.02, 6.4], abs=0.03)
    assert row["covered_s"] == pytest.approx(left * 0.02, abs=0.05)


def test_the_sheets_show_both_people_and_when_one_is_absent(audited):
    folder, _ = audited
    whole = sorted((folder / "sheets").glob("guest*.jpg"))
    pictures = np.concatenate([cv2.imread(str(path)).reshape(-1, 3) for path in whole]).astype(int)
    for colour in (GREEN, BLUE, RED):
        assert (np.abs(pictures - colour).max(axis=1) < 90).sum() > 20, colour


def test_the_page_shows_the_same_numbers(audited):
    folder, _ = audited
    text = (folder / "quality.html").read_text()
    assert "0:02.40 to 0:04.00, frames 120 to 198" in text
    assert "not followed" in text
    assert "its header promises 6.4" in text
    for path in re.findall(r'href="(sheets/[^"]+)"', text):
        assert (folder / path).is_file()


def test_the_recipes_of_the_card_work(audited, monkeypatch, capsys):
    folder, _ = audited
    *_, by_row, audit = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(folder)
    found = {}
    exec(by_row, found)
    assert len(found["frames"]) == len(found["jpegs"]) == found["row"]["num_frames"]
    assert [bool(jpeg) for jpeg in found["jpegs"]] == found["frames"]["face_ok"].tolist()
    assert all(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1) is not None for jpeg in found["jpegs"] if jpeg)
    exec(audit, {})
    assert "no face 2.4 4.0 120 198" in capsys.readouterr().out


def test_a_clip_with_too_little_face_keeps_its_sheet_its_gaps_and_its_faces(tmp_path):
    (tmp_path / "videos").mkdir()
    film(tmp_path / "videos/guest.mov")
    settings = SMALL | {"source": {"videos": str(tmp_path / "videos")}, "storage": {"root": str(tmp_path)}}
    config = load(None, {"name": "audit", **settings, "faces": {"min_face_fraction": 0.9}})
    worker = builder_of(config, str(tmp_path / "dataset"))
    worker.tools = replace(worker.tools, detector=FakeDetector())
    videos = [replace(video, split="train") for video in list_videos(config).videos]
    (plan,) = plan_shards(videos, {video.key: ScanResult(6.4) for video in videos}, config)
    (row,) = worker.build(plan).videos
    assert (row.status, row.reason) == ("rejected", "no_face")
    assert "a face in 75.0% of the frames; faces.min_face_fraction is 0.9" in row.detail
    assert row.detail.endswith("; followed in 120 frames of the clock")
    assert [(gap.missing, gap.first_frame) for gap in row.gaps] == [("face", ABSENT.start)]
    assert [bool(face.num_followed) for face in row.faces] == [True, False]
    assert (tmp_path / "dataset/sheets/guest.jpg").is_file()
