"""The whole path as its users take it: the command line as a process, into a folder and into a bucket."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.dataset.format.dataset_info import read_dataset
from pipeline.runtime import processes
from pipeline.storage import join
from pipeline.training import checkpoint, run_record

IACA = Path(sys.executable).with_name("iaca")
RUN_FILE = """
name = "small"
synthesis = { num_identities = 4, clips_per_identity = 1, duration_s = 4.0, corrupted_fraction = 0.0 }
media = { crop_px = 32 }
segments = { num_frames = 32, num_preroll = 7 }
sequence = { num_subclips = 4, subclip_frames = 8, subclip_dilation = 2, subclip_stride = 8 }
shards = { max_videos = 1 }
model = { feature_dim = 8, head_dim = 8 }
train = { epochs = 2, batch_size = 8, phases_per_segment = 2, checkpoint_every_steps = 1 }
"""
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def run_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "small.toml"
    path.write_text(RUN_FILE)
    return path


@pytest.fixture(scope="module")
def talkers(run_file, tmp_path_factory):
    """Four short clips of as many people, one of them for each of val and test."""
    root = tmp_path_factory.mktemp("talkers")
    iaca("synthesize", "--config", run_file, "--storage.root", root)
    (folder,) = (root / "sources").iterdir()
    return folder


@pytest.fixture
def source(talkers, tmp_path):
    """The arguments that name the clips, in a copy that may be deleted."""
    folder = shutil.copytree(talkers, tmp_path / "raw")
    uris = {"videos": folder / "videos", "labels": folder / "labels", "manifest": folder / "manifest.csv"}
    return folder, [word for name, path in uris.items() for word in (f"--source.{name}", path)]


@pytest.fixture(scope="module")
def in_folder(run_file, talkers, tmp_path_factory):
    """The dataset of the same clips in a local folder."""
    root = tmp_path_factory.mktemp("root")
    uris = ("--source.videos", talkers / "videos", "--source.labels", talkers / "labels")
    words = (*uris, "--source.manifest", talkers / "manifest.csv", "--storage.root", root)
    iaca("preprocess", "--config", run_file, *words)
    (folder,) = (root / "datasets").iterdir()
    return read_dataset(str(folder))


def iaca(*words):
    """Run the installed console script, which must succeed."""
    done = subprocess.run([IACA, *map(str, words)], capture_output=True, text=True, timeout=600, env=quiet())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def quiet():
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_LOGGING")}


def digests(dataset):
    return {shard.name: shard.sha256 for shard in dataset.shards}


def only(uri, name):
    """The one file of that name below `uri`."""
    (found,) = [entry.uri for entry in storage.list_files(uri) if entry.uri.endswith(f"/{name}")]
    return found


def metrics(uri):
    return json.loads(storage.read_bytes(uri))


def test_the_same_experiment_in_a_bucket(run_file, source, in_folder, s3_bucket):
    root = join(s3_bucket, "some prefix")
    output = iaca("experiment", "--config", run_file, *source[1], "--storage.root", root)
    dataset = read_dataset(only(root, "dataset.json").rsplit("/", 1)[0])
    assert digests(dataset) == digests(in_folder)
    assert dataset.digest == in_folder.digest
    videos = pq.read_table(BytesIO(storage.read_bytes(join(dataset.uri, "videos.parquet")))).to_pylist()
    assert sorted(row["video_id"] for row in videos) == [f"person{i:02}_clip0" for i in range(4)]
    assert {row["status"] for row in videos} == {"ok"}
    report = only(root, "report.html")
    assert report in output
    assert b"<html" in storage.read_bytes(report)[:200]
    frames = metrics(only(root, "metrics.json"))["frames"]
    assert frames["labelled"] == frames["scored"] == 100
    run = run_record.read_record(only(root, "run.json").rsplit("/", 1)[0])
    assert (run.num_epochs, run.attempts, run.dataset_digest) == (2, 1, dataset.digest)


@pytest.mark.slow
def test_training_and_evaluation_need_no_raw_videos(run_file, source, in_folder, s3_bucket):
    root, folder = join(s3_bucket, "root"), source[0]
    iaca("preprocess", "--config", run_file, *source[1], "--storage.root", root)
    shutil.rmtree(folder)
    uri = join(root, "datasets", in_folder.uri.rsplit("/", 1)[1])
    assert "are as they were written" in iaca("verify", "--dataset", uri, "--storage.root", root)
    iaca("train", "--config", run_file, "--dataset", uri, "--storage.root", root, "--train.num_workers", "2")
    run = only(root, "run.json").rsplit("/", 1)[0]
    assert checkpoint.steps(run)
    iaca("evaluate", "--run", run, "--storage.root", root)
    there = metrics(only(join(root, "evaluations"), "metrics.json"))
    # The same weights on the same shards in a folder: another place, the same numbers.
    iaca("evaluate", "--run", run, "--dataset", in_folder.uri, "--storage.root", folder.parent / "local")
    assert there == metrics(only(str(folder.parent / "local"), "metrics.json"))


def interrupted(words, is_under_way):
    """Start the command, press Ctrl-C once `is_under_way`; its code, its output and the processes it left behind."""
    # An orphan comes to us, where it is seen.
    processes.adopt_orphans()
    before = set(processes.descendants())
    command = [IACA, *map(str, words)]
    with subprocess.Popen(command, stdout=-1, stderr=-2, text=True, env=quiet(), start_new_session=True) as process:
        deadline = time.monotonic() + 120
        while not is_under_way():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert len(processes.descendants(process.pid)) > 5, "Ray is not running"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the command and to Prefect's server
        output, _ = process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while (left := set(processes.descendants()) - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    return process.returncode, output, left


def test_ctrl_c_while_preprocessing_leaves_nothing_running(run_file, source, tmp_path):
    root = tmp_path / "root"
    words = ("preprocess", "--config", run_file, *source[1], "--storage.root", root, "--cluster.num_workers", "1")
    code, output, left = interrupted(words, lambda: any(root.glob("datasets/*/shards/*.tar")))
    assert (code, left) == (130, set()), output
    assert f"To resume: iaca preprocess --config {run_file}" in output
    assert "Error" not in output
    assert not list(root.glob("datasets/*/dataset.json"))


@pytest.mark.slow
def test_ctrl_c_while_training_leaves_nothing_running_and_resumes(run_file, in_folder, tmp_path):
    words = ("train", "--config", run_file, "--dataset", in_folder.uri, "--storage.root", tmp_path)
    words += ("--train.epochs", "40", "--train.patience", "40")
    under_way = lambda: any(tmp_path.glob("runs/*/checkpoints/*/manifest.json"))  # noqa: E731
    code, output, left = interrupted(words, under_way)
    assert (code, left) == (130, set()), output
    assert "To resume: iaca train" in output
    iaca(*words)
    (run,) = (tmp_path / "runs").iterdir()
    found = run_record.read_record(str(run))
    assert (found.attempts, found.num_epochs) == (2, 40)
