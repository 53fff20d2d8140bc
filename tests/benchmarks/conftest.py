"""What all benchmarks share: the table of results, the detector, and videos that are drawn once and looped."""

import hashlib
import os
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.synthetic.clip import make_clip
from tests.support.talkers import clip_specs

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "../shared"
TABLE = pytest.StashKey()
HEADER = ("what", "measured", "compared with", "ratio", "budget")


def pytest_addoption(parser):
    parser.addoption("--table", default="", help="write the table of results to this file")
    parser.addoption("--minutes", type=int, default=60, help="of video under Ray, and half of the longest video")
    parser.addoption("--kills", type=int, default=20, help="random moments at which a process is killed")
    parser.addoption("--talkers", type=int, default=48, help="drawn people on whom the models are compared")
    parser.addoption("--talkers-root", default="", help="folder of their dataset and runs, which are kept")
    parser.addoption("--seeds", type=int, default=3, help="of each model's training on them")
    parser.addoption("--processes", type=int, default=0, help="of training at a time; 0: one for each core")


@dataclass
class Table:
    """Rows of one run, side by side."""

    detector: str
    rows: list[tuple[str, ...]] = field(default_factory=list)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    def add(self, what, measured, compared="", ratio=None, budget=""):
        self.rows.append((what, measured, compared, "" if ratio is None else f"{ratio:.2f}", budget))

    def markdown(self):
        cores, load = len(os.sched_getaffinity(0)), f"{self.load_before:.1f} before, {os.getloadavg()[0]:.1f} after"
        about = f"{cores} cores, {platform.machine()}; detector {self.detector}; load average {load}."
        lines = [HEADER, ["---"] * len(HEADER), *self.rows]
        return f"{about}\n\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines)


@pytest.fixture(scope="session")
def table(request, detector):
    """Where benchmarks put what they measured; printed, and written to --table, at the end of the run."""
    found = request.config.stash[TABLE] = Table(detector[0])
    return found


def pytest_terminal_summary(terminalreporter, config):
    found = config.stash.get(TABLE, None)
    if found is None:
        return
    terminalreporter.section("benchmarks")
    terminalreporter.write_line(found.markdown())
    if path := config.getoption("table", ""):
        Path(path).write_text(found.markdown())


@pytest.fixture(scope="session")
def minutes(request):
    """How much video the long benchmarks work on; the budgets are meant for an hour."""
    return request.config.getoption("minutes", 60)


@pytest.fixture(scope="session")
def cores():
    """Two cores to pin processes to."""
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        pytest.skip("one core is not enough to compare one worker with two")
    return found[:2]


@pytest.fixture(scope="session")
def yunet_path():
    """The YuNet model of IACA_YUNET, else of ../shared/models; None where there is neither."""
    path = Path(os.environ.get("IACA_YUNET") or SHARED / "models/yunet_n_320.onnx")
    assert path.is_file() or "IACA_YUNET" not in os.environ, f"IACA_YUNET is {path}, and there is no such file"
    return path.resolve() if path.is_file() else None


@pytest.fixture(scope="session")
def detector(yunet_path):
    """Name of the detector and the settings that choose it."""
    if yunet_path is None:
        return "haar (no YuNet model: set IACA_YUNET)", {"detector": "haar"}
    digest = hashlib.sha256(yunet_path.read_bytes()).hexdigest()
    return "yunet", {"detector": "yunet", "model_uri": str(yunet_path), "model_sha256": digest}


@pytest.fixture(scope="session")
def config_of(detector):
    """A function: the configuration that preprocesses a folder of videos into a root."""

    def make(videos, root, **sections):
        faces = {**detector[1], **sections.pop("faces", {})}
        uris = {"source": {"videos": str(videos)}, "storage": {"root": str(root)}}
        return load(None, {"name": "bench", **uris, "faces": faces, **sections})

    return make


@pytest.fixture(scope="session")
def draw(tmp_path_factory):
    """A function: a talker of 20 s in the given size, drawn once."""
    drawn = {}

    def make(width_px, height_px, frame_rate_hz=30):
        size = {"width_px": width_px, "height_px": height_px, "frame_rate_hz": frame_rate_hz}
        if (width_px, height_px) not in drawn:
            folder = tmp_path_factory.mktemp("talker")
            (spec,) = clip_specs(num_identities=1, clips_per_identity=1, duration_s=20, **size)
            make_clip(spec, folder, find_ffmpeg())
            drawn[width_px, height_px] = folder / spec.files[0]
        return drawn[width_px, height_px]

    return make


@pytest.fixture(scope="session")
def talker(draw):
    """A 720p30 talker of 20 s."""
    return draw(1280, 720)


@pytest.fixture(scope="session")
def looped():
    """A function: a clip repeated without encoding it again, cut to a length."""

    def make(clip, video, seconds):
        video.parent.mkdir(parents=True, exist_ok=True)
        repeat = [find_ffmpeg(), "-nostdin", "-v", "error", "-stream_loop", "-1", "-i", clip]
        subprocess.run([*repeat, "-t", str(seconds), "-c", "copy", "-y", video], check=True)
        return video

    return make
