"""Every program in examples/ runs as its docstring says, on data that is made here."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from pipeline.dataset.format.dataset_info import read_index
from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.synthetic.clip import ClipSpec, make_clip
from tests.support.fake_run import finished_run, small_dataset

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run_example(name, *arguments, folder):
    """The lines that an example prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_reading_a_dataset(dataset, tmp_path, num_workers):
    lines = run_example("read_a_dataset.py", dataset.uri, "--num-workers", num_workers, folder=tmp_path)
    rows = [row for row in read_index(dataset.uri) if row.split == "train"]
    count = sum(row.num_frames for row in rows)
    assert lines == [f"{len(rows)} segments: {count} frames, {count} with a face, {count} labelled"]


def test_reading_a_dataset_imports_nothing_of_this_project():
    text = (EXAMPLES / "read_a_dataset.py").read_text()
    assert not [
        name for name in ("pipeline", "iaca_model", "flows") if f"import {name}" in text or f"from {name}" in text
    ]


def test_explaining_a_prediction(dataset, tmp_path):
    run = finished_run(tmp_path / "root", dataset, epochs=1)
    lines = run_example("explain_a_prediction.py", run, folder=tmp_path)
    assert [line.split()[:2] for line in lines[:-1]][:2] == [["modality:", "video"], ["modality:", "audio"]]
    assert lines[-1].endswith("phase 0 -> why.png")
    assert cv2.imread(str(tmp_path / "why.png")).shape[1] > 500

    key = next(row.key for row in read_index(dataset.uri) if row.split == "val")
    lines = run_example("explain_a_prediction.py", run, "--key", key, "--phase", 3, folder=tmp_path)
    assert lines[-1] == f"{key}, phase 3 -> why.png"


def test_explaining_a_prediction_of_a_model_with_a_front_begins_with_its_verdict(dataset, tmp_path):
    run = finished_run(tmp_path / "root", dataset, model={"front": "reliability"}, epochs=1)
    lines = run_example("explain_a_prediction.py", run, folder=tmp_path)
    assert [line.split()[:2] for line in lines[:2]] == [["reliability:", "video"], ["reliability:", "audio"]]


def test_plugging_in_a_detector(tmp_path):
    spec = ClipSpec(0, 0, 3, 2.0, 320, 240, 25.0, 16000)
    make_clip(spec, tmp_path, find_ffmpeg())
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    video = tmp_path / spec.files[0]
    lines = run_example("plug_in_a_detector.py", video, tmp_path / "broken.mp4", folder=tmp_path)
    assert lines[0] == f"{video.name}: a face in 50 of 50 frames"
    assert lines[1].startswith("broken.mp4: rejected, probe: unreadable")
    crops = cv2.VideoCapture(str(tmp_path / "crops" / f"{video.stem}.mjpeg"))
    found, picture = crops.read()
    assert found
    assert picture.shape == (112, 112, 3)
