"""How often a worker downloads a video, and what of it is left on its disk."""

import subprocess
import sys
import tempfile
from dataclasses import replace

import pytest

from pipeline.config import Config
from pipeline.config.dataset_sections import SegmentConfig, ShardsConfig
from pipeline.dataset.build.span_build import SpanBuild, Tools
from pipeline.dataset.plan.scan import scan_video
from pipeline.dataset.plan.shard_plan import ScanResult, plan_shards
from pipeline.dataset.sources.content_id import content_id_of_file
from pipeline.jobs.scan_videos import _group_by_file
from pipeline.jobs.workers.file_scanner import scan_file
from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.records import AnchorPoint, Video
from pipeline.storage.download_cache import DownloadCache
from pipeline.synthetic.clip import ClipSpec, make_clip
from tests.support.fake_flaky_server import FakeFlakyServer

ENDS = """
import sys
from pipeline.storage.download_cache import DownloadCache
copies = DownloadCache()
print(copies.local_path(sys.argv[1]))
"""


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """A server that writes down what it is asked for, and a temporary folder of our own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "tmp").mkdir()
    with FakeFlakyServer() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fake")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fake")
        server.objects |= {"/bucket/a.mp4": b"a" * 1000, "/bucket/b.mp4": b"b" * 1000}
        yield server


def downloads(server):
    return [request.removeprefix("GET /bucket/") for request in server.requests if request.startswith("GET")]


def kept(tmp_path):
    return sorted(path.name for path in (tmp_path / "tmp").rglob("*") if path.is_file())


def test_a_file_is_downloaded_once_and_makes_room_for_the_next(bucket, tmp_path):
    copies = DownloadCache()
    first = copies.local_path("s3://bucket/a.mp4")
    assert copies.local_path("s3://bucket/a.mp4").read_bytes() == b"a" * 1000
    assert copies.local_path("s3://bucket/b.mp4").read_bytes() == b"b" * 1000
    assert not first.exists()
    assert (downloads(bucket), kept(tmp_path)) == (["a.mp4", "b.mp4"], ["b.mp4"])
    with pytest.raises(FileNotFoundError, match=r"no object s3://bucket/gone\.mp4"):
        copies.local_path("s3://bucket/gone.mp4")
    assert copies.local_path("s3://bucket/b.mp4").read_bytes() == b"b" * 1000
    copies.close()
    assert not list((tmp_path / "tmp").iterdir())


def test_a_file_of_this_machine_is_its_own_copy(bucket, tmp_path):
    (tmp_path / "own.mp4").write_bytes(b"own")
    copies = DownloadCache()
    assert copies.local_path(str(tmp_path / "own.mp4")) == tmp_path / "own.mp4"
    copies.close()
    assert (tmp_path / "own.mp4").exists()


def test_a_copy_goes_with_its_owner(bucket, tmp_path):
    copies = DownloadCache()
    copies.local_path("s3://bucket/a.mp4")
    del copies
    assert not list((tmp_path / "tmp").iterdir())
    output = subprocess.run(
        [sys.executable, "-c", ENDS, "s3://bucket/a.mp4"], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip().endswith("/a.mp4")
    assert not list((tmp_path / "tmp").iterdir())


@pytest.fixture
def clip(bucket, tmp_path):
    """A stream in the bucket, and what was asked for forgotten."""
    spec = make_clip(ClipSpec(1, 0, 7, 2.0, 160, 120, 25.0, 16000), tmp_path, find_ffmpeg())
    path = tmp_path / f"videos/{spec.name}.mp4"
    bucket.objects["/bucket/clip.mp4"] = path.read_bytes()
    return Video(
        "clip", "clip.mp4", "s3://bucket/clip.mp4", path.stat().st_size, content_id_of_file(path), split="train"
    )


CUT = Config(
    segments=SegmentConfig(num_frames=16, num_preroll=4),
    shards=ShardsConfig(span_minutes=0.01, max_videos=2, min_shards=1),
)


def test_spans_of_a_file_cost_a_worker_one_download(bucket, clip, tmp_path):
    middle = AnchorPoint(0.0, 60.0, 40.0, 100.0, 80.0)
    plans = plan_shards([clip], {clip.key: ScanResult(2.0, (middle,))}, CUT)
    assert [len(plan.spans) for plan in plans] == [2, 2]
    for worker in range(2):
        tools = Tools(find_ffmpeg(), FakeBlindDetector())
        for number, span in enumerate(span for plan in plans for span in plan.spans):
            own = tmp_path / f"{worker}-{number}"
            own.mkdir()
            build = SpanBuild(span, CUT, tools, own)
            assert len(list(build.segments())) == 1, build.row
    assert downloads(bucket) == ["clip.mp4"] * 2


class FakeBlindDetector:
    """It sees nobody, and a span with an anchor may be without its person."""

    def detect(self, picture):
        return []


def test_a_scan_costs_one_download_for_all_streams_of_a_file(bucket, clip):
    streams = [replace(clip, person=person) for person in ("left", "right")]
    (together,) = _group_by_file(streams)
    scans = scan_file(together, CUT)
    assert [scan.duration_s for scan in scans] == pytest.approx([2.0, 2.0], abs=0.1)
    assert downloads(bucket) == ["clip.mp4"]
    alone = scan_video(clip, Config(), ffmpeg=find_ffmpeg(), load_detector=FakeBlindDetector)
    assert alone.duration_s == pytest.approx(2.0)
