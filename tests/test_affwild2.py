"""The papers' setting, `infra/runs/affwild2.toml`: what it says, and its whole path on talkers in that layout."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from iaca_model.backbones.residual import r2plus1d_18, resnet_18
from iaca_model.config import PRESETS, InputSpec
from pipeline.config import load, require_view
from pipeline.dataset.format.dataset_info import read_index, read_videos
from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.synthetic.clip import ClipSpec, make_clip

RUN_FILE = Path(__file__).parents[1] / "infra/runs/affwild2.toml"
IACA = Path(sys.executable).with_name("iaca")
SIZES = {"feature_dim": 512, "joint_dim": 512, "head_dim": 128, "fusion_dropout": 0.6, "head_dropout": 0.6}
RESIDUAL = {"backbone": "residual", "frozen": "all", **SIZES}
NUM_FRAMES = 64  # of each clip


def test_media_and_sequences_are_those_of_the_released_work():
    config = load(RUN_FILE)
    require_view(config)
    assert config.input_spec == InputSpec(num_steps=16, num_frames=8, crop_px=112, num_mels=64, num_hops=104)
    assert (config.media.frame_rate_hz, config.media.sample_rate_hz) == (30.0, 44100)
    samples = [round(seconds * config.media.sample_rate_hz) for seconds in (config.sound.window_s, config.sound.hop_s)]
    assert (config.sound.n_fft, *samples) == (1024, 882, 441)
    assert (config.train.batch_size, config.train.learning_rate, config.train.drop_modality) == (64, 1e-4, 0.0)
    widths_s = (config.evaluate.smooth_valence_s, config.evaluate.smooth_arousal_s)
    assert [width_s * config.media.frame_rate_hz for width_s in widths_s] == pytest.approx([20, 50], abs=1e-4)
    assert (config.evaluate.smooth, config.evaluate.split) == ("fixed", "val")


@pytest.mark.parametrize(
    ("gate", "name"),
    [("none", "rjca"), ("dca", "dca"), ("iaca", "faithful"), ("grjca", "grjca"), ("hgrjca", "hgrjca")],
)
def test_each_row_of_the_papers_table_is_the_literal_preset(gate, name):
    literal = {"gate_relu": True, "gate_init": "xavier", "temperature": 0.1}  # of no effect on rjca, which has no gate
    expected = dataclasses.replace(PRESETS[name], temporal="blstm", **RESIDUAL, **literal)
    model = load(RUN_FILE, {"model": {"gate": gate}}).model
    assert dataclasses.replace(model, preset="") == expected


def make_corpus(root):
    """Three drawn clips as Aff-Wild2 has them: one of a single person, one of two, and one to validate on.

    The last has an annotation that is marked invalid (row 10) and no crops for frames 20 to 23.
    """
    names = {"solo": ("Train_Set/solo",), "pair": ("Train_Set/pair_left", "Train_Set/pair_right")}
    names["judged"] = ("Validation_Set/judged",)
    for identity, (video, streams) in enumerate(names.items()):
        spec = ClipSpec(identity, 0, 3, NUM_FRAMES / 30, 128, 96, 30.0, 44100)
        make_clip(spec, root / "drawn", find_ffmpeg())
        path, _, annotations, _ = (root / "drawn" / name for name in spec.files)
        put(root / "videos" / f"{video}.mp4", path.read_bytes())
        for stream in streams:
            rows = annotations.read_text().splitlines()
            if video == "judged":
                rows[10] = "-5,-5"
            put(root / f"annotations/{stream}.txt", "\n".join(rows).encode())
            for number, crop in enumerate(crops_of(path), start=1):
                if video != "judged" or number not in range(21, 25):
                    put(root / f"cropped_aligned/{Path(stream).name}/{number:05d}.jpg", crop)


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def crops_of(path):
    """Every frame of a video as a JPEG of 112 x 112 pixels."""
    video = cv2.VideoCapture(str(path))
    while (found := video.read())[0]:
        yield cv2.imencode(".jpg", cv2.resize(found[1][:, 16:-16], (112, 112)))[1].tobytes()


def weights(path, body):
    """The arguments that name the weights of a network at `path`."""
    safetensors.torch.save_file(body.state_dict(), path)
    side = path.stem
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"--weights.{side}", str(path), f"--weights.{side}_sha256", digest


def ccc_of(table, kind, name):
    x, y = (table[column].to_numpy().astype(float) for column in (f"{name}_{kind}", name))
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_path_on_talkers_in_that_layout(tmp_path):
    make_corpus(tmp_path)
    torch.manual_seed(0)
    words = [IACA, "experiment", "--config", RUN_FILE, "--storage.root", tmp_path / "root"]
    for field, folder in (("videos", "videos"), ("labels", "annotations"), ("crops", "cropped_aligned")):
        words += [f"--source.{field}", tmp_path / folder]
    words += weights(tmp_path / "video.safetensors", r2plus1d_18())
    words += weights(tmp_path / "audio.safetensors", resnet_18())
    # Everything as in the run file, but sequences of 2 sub-clips: an R(2+1)D-18 over all 16 is too much for a CPU.
    words += ["--sequence.num_subclips", "2", "--segments.num_frames", str(NUM_FRAMES), "--train.epochs", "1"]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_LOGGING")}
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stdout + done.stderr

    (folder,) = (tmp_path / "root/datasets").iterdir()
    assert {(row.video_id, row.person, row.group, row.split, row.status) for row in read_videos(str(folder))} == {
        ("solo", "", "solo", "train", "ok"),
        ("pair", "left", "pair", "train", "ok"),
        ("pair", "right", "pair", "train", "ok"),
        ("judged", "", "judged", "val", "ok"),
    }
    assert [row.num_frames for row in read_index(str(folder))] == [NUM_FRAMES] * 4

    (metrics_path,) = (tmp_path / "root/evaluations").rglob("metrics.json")
    metrics = json.loads(metrics_path.read_text())
    table = pq.read_table(metrics_path.with_name("predictions.parquet"))
    assert metrics["frames"]["scored"] == metrics["frames"]["labelled"] == table.num_rows == NUM_FRAMES - 1
    assert sorted(set(range(NUM_FRAMES)) - set(table["frame"].to_pylist())) == [9]
    faces = dict(zip(table["frame"].to_pylist(), table["face_ok"].to_pylist(), strict=True))
    assert [frame for frame, has_face in faces.items() if not has_face] == [20, 21, 22, 23]
    assert metrics["frames"]["filled"] < 20  # before half a sub-clip has been heard or seen
    for key, kind in (("ccc", "pred"), ("ccc_smoothed", "smoothed")):
        for name in ("valence", "arousal"):
            assert metrics[key]["pooled"][name] == pytest.approx(ccc_of(table, kind, name), abs=1e-6)
    for name, size in (("valence", 20), ("arousal", 50)):
        raw, smooth = (table[f"{name}_{kind}"].to_numpy() for kind in ("pred", "smoothed"))
        last = raw[-(size // 2 + 1) :].mean(dtype=float)  # over itself and half a window before it: the video ends
        assert smooth[-1] == pytest.approx(last, abs=1e-5)
    report = metrics_path.with_name("report.html").read_text()
    assert "The checkpoint was chosen on this split" in report
    assert "Window: 0.67 s for valence, 1.67 s for arousal, as configured" in report
