"""The one command that fills the papers' table: from videos and published weights to the comparison."""

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from iaca_model.backbones.residual import r2plus1d_18, resnet_18
from pipeline.ablation.variants import list_variants
from pipeline.config import load
from pipeline.dataset.format.dataset_info import read_dataset

RUN_FILE = Path(__file__).parents[1] / "infra/runs/affwild2.toml"
IACA = Path(sys.executable).with_name("iaca")
NUM_FRAMES = 64  # of each clip
SPLITS = ("train", "train", "val", "val")
# As in the run file, but for the source, and small enough for a CPU.
SMALL = {
    "source.kind": "folder",
    "segments.num_frames": NUM_FRAMES,
    "sequence.num_subclips": 4,
    "sequence.subclip_stride": 16,
    "ablate.gates": "iaca",
    "ablate.num_seeds": 1,
    "ablate.updates": 3,
    "ablate.batch_size": 4,
    "ablate.phases": 4,
    "ablate.corrupted": 1.0,
}


def test_the_run_file_asks_for_the_rows_of_the_table_and_spoils_nothing_in_training():
    config = load(RUN_FILE)
    rows = ["jca", "jca+dca", "jca+iaca", "jca+grjca", "jca+hgrjca", "jca+iaca:faithful"]
    assert [row.name for row in list_variants(config.ablate)] == rows
    assert config.ablate.makes_features
    assert config.ablate.chance_in_training == 0
    assert (config.ablate.batch_size, config.ablate.learning_rate) == (64, 1e-4)


def run_iaca(command, options):
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_LOGGING")}
    done = subprocess.run([IACA, command, *words], capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def talkers(root):
    """Four drawn people of one clip each; two of them to measure on."""
    synthesis = {"num_identities": 4, "clips_per_identity": 1, "corrupted_fraction": 0}
    rates = {"duration_s": NUM_FRAMES / 30, "frame_rate_hz": 30, "sample_rate_hz": 44100}
    options = {f"synthesis.{name}": value for name, value in (synthesis | rates).items()}
    run_iaca("synthesize", {"storage.root": root, **options})
    (manifest,) = root.rglob("manifest.csv")
    rows = list(csv.DictReader(io.StringIO(manifest.read_text())))
    lines = [f"{row['video']},{row['group']},{split}" for row, split in zip(rows, SPLITS, strict=True)]
    manifest.write_text("\n".join(["video,group,split", *lines]) + "\n")
    folder = manifest.parent
    return {"source.videos": folder / "videos", "source.labels": folder / "labels", "source.manifest": manifest}


def weights(folder):
    torch.manual_seed(0)
    options = {}
    for side, network in (("video", r2plus1d_18()), ("audio", resnet_18())):
        path = folder / f"{side}.safetensors"
        safetensors.torch.save_file(network.state_dict(), path)
        options[f"train.{side}_weights"] = path
        options[f"train.{side}_weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return options


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_command_from_videos_to_the_table(tmp_path):
    root = tmp_path / "root"
    command = {"config": RUN_FILE, "storage.root": root, **talkers(tmp_path / "drawn"), **weights(tmp_path), **SMALL}
    reported = run_iaca("ablate", command)
    assert [reported.count(title) for title in ("Dataset:", "Features:", "Ablation:")] == [1, 1, 1]

    datasets = [read_dataset(str(folder)) for folder in (root / "datasets").iterdir()]
    (features,) = (dataset for dataset in datasets if dataset.features)
    (marker,) = (root / "ablations").rglob("ablation.json")
    record = json.loads(marker.read_text())
    assert record["data"]["name"] == features.name
    assert record["data"]["train"] == {"sequences": 8, "videos": 2, "labelled_frames": 2 * NUM_FRAMES // 4}
    assert record["data"]["val"] == {"sequences": 32, "videos": 2, "labelled_frames": 2 * NUM_FRAMES}
    rows = {row["variant"]: row for row in record["rows"]}
    assert list(rows) == ["jca", "jca+iaca", "jca+iaca:faithful"]
    assert rows["jca+iaca"]["num_parameters"] > rows["jca"]["num_parameters"] > 1e7, "with BLSTMs of 512"
    assert set(rows["jca+iaca"]["auroc"]) >= {"all"}
    table = marker.with_name("table.md").read_text()
    assert f"on {features.name}" in table
    assert "every number here flatters its variant" in table
    curve = list(csv.DictReader(io.StringIO(marker.with_name("curves.csv").read_text())))
    assert len(curve) == 3 * 32

    again = run_iaca("ablate", command)
    assert again.count("found complete, nothing computed") == 3
