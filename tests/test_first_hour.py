"""A newcomer's first hour: a mixed folder, mistakes and wrong usages, and what terminal and pages say of them.

The tests are in the order of that hour, and all of them run the command line as a process.
"""

import html
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.newcomer_folder import INPUTS, LABELS_WITHOUT_VIDEO, REJECTED, TALKERS, make_newcomer_folder
from tests.support.processes import iaca, start_iaca

USABLE = sorted(set(INPUTS) - set(REJECTED))
WARNINGS = [
    "1 video is a copy of another and in the same group: dora = dora__2_",
    "5 label files belong to no video: nobody 1.csv, nobody 2.csv, nobody 3.csv and 2 more",
    "1 sound file beside a video is not used (only the sound inside the video is): carl.wav",
]
WARNINGS_OF_DECODED = [  # which the plan cannot have
    "no sound in 1 video (without_sound)",
    "only silence in 1 video (silent)",
    "1 label file ends more than 1 s before its video: gus",
    "1 label file ends more than 1 s after its video: hana",
    "1 label file numbers the frames from 1, but the first frame is 0: its labels are one frame late: frida",
    "run iaca fetch-model yunet, then use --faces.detector yunet",
]
# What only a reader of Python understands.
PYTHON = re.compile(
    r"Traceback|\b\w+(?:Error|Exception|Warning)\b|\b(?:Posix|Windows)Path\b|NoneType|<class|pydantic|tyro"
)
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_newcomer_folder(tmp_path_factory.mktemp("newcomer"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Where the outputs go, in a folder whose name has a space."""
    return tmp_path_factory.mktemp("outputs") / "my results"


@pytest.fixture(scope="module")
def preprocessed(folder, root):
    """What `iaca preprocess` prints, and the dataset."""
    done = read(iaca("preprocess", *folder.words, "--storage.root", str(root), timeout_s=600), 0)
    (dataset,) = (root / "datasets").iterdir()
    return done, dataset


@pytest.fixture(scope="module")
def trained(preprocessed):
    """What the command that the dataset's summary proposes prints."""
    return follow(preprocessed[0])


def read(done, code):
    """All that a person reads of a command that has ended with this exit code."""
    text = done.stdout + done.stderr
    assert done.returncode == code, text
    assert not PYTHON.search(text), text
    return text


def follow(text):
    """Run the command that is proposed as the next one, as it is printed."""
    (proposed,) = re.findall(r"^Next: iaca (.*)$", text, re.M)
    return read(iaca(*shlex.split(proposed), timeout_s=600), 0)


def listing(path):
    """Every file below a folder with its size and the time of its last change."""
    found = {p: p.stat() for p in path.rglob("*")}
    return {str(p): (stat.st_size, stat.st_mtime_ns) for p, stat in found.items()}


def page_text(path):
    """The words of a page, without pictures."""
    text = re.sub(r"(?s)<(style|script|svg).*?</\1>", "", path.read_text())
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def section(page, first, last):
    """The part of a page's words between two headlines."""
    start = page.index(first)
    return page[start : page.index(last, start)]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("preproces --source.videos {videos}", "unknown command 'preproces'; did you mean preprocess?"),
        ("preprocess --source.video {videos}", "unknown option --source.video; did you mean --source.videos?"),
        ("train --dataset {videos} --lr 0.1", "unknown option --lr; did you mean --train.learning_rate?"),
        ("train --dataset {videos} --train.lr 0.1", "unknown option --train.lr; did you mean --train.learning_rate?"),
        ("train --dataset {videos} --bs 4", "unknown option --bs; did you mean --train.batch_size?"),
        ("preprocess", "iaca preprocess needs --source.videos URI"),
        ("preprocess --source.videos no/folder", "source.videos {cwd}/no/folder does not exist"),
        ("preprocess --source.videos {videos} --source.labels lab", "source.labels {cwd}/lab does not exist"),
        ("preprocess --source.videos {labels}", "no video under source.videos {labels} (19 files, none with a media"),
        ("demo --config demoo", "demoo.toml does not exist; did you mean demo? by name alone there are ablation, "),
        (
            "preprocess --source.videos {videos} --faces.detector yunet",
            "`iaca fetch-model yunet --storage.root {root}`",
        ),
        ("train", "iaca train needs --dataset URI"),
        (
            "train --dataset {videos}",
            "{videos} has no dataset.json: it is incomplete, or not a dataset or run; iaca preprocess makes a dataset",
        ),
        ("train --dataset {videos} --train.epochs many", "train.epochs is 'many'; allowed: a whole number, at least 1"),
        (
            "evaluate --run {videos}",
            "{videos} has no run.json: it is incomplete, or not a dataset or run; iaca train makes a training run",
        ),
    ],
)
def test_a_wrong_usage_is_one_line_that_names_the_remedy(folder, tmp_path, command, message):
    root = tmp_path / "out"
    values = {"videos": folder.videos, "labels": folder.labels, "cwd": tmp_path, "root": root}
    options = [word.format(**values) for word in command.split()]
    done = iaca(*options, "--storage.root", str(root), cwd=tmp_path)
    assert message.format(**values) in read(done, 2)
    assert done.stdout == ""
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr)
    assert not (root / "datasets").exists()


def test_the_plan_tells_what_is_to_come_and_writes_nothing(folder, tmp_path):
    before = listing(folder.path)
    words = ("preprocess", *folder.words, "--storage.root", str(tmp_path / "out"), "--dry-run")
    text = read(iaca(*words, cwd=tmp_path), 0)
    assert f"{len(INPUTS)} videos, {len(TALKERS)} with labels, in " in text
    splits = {name: int(number) for name, number in re.findall(r"^  (train|val|test) +(\d+) videos?", text, re.M)}
    assert sum(splits.values()) == len(INPUTS)
    assert splits["train"] > splits["val"] > 0 < splits["test"] < splits["train"]
    assert "5 files cannot be read as video and will be rows with their reasons" in text
    warnings = [f"warning: {line}" for line in WARNINGS]
    for line in [*warnings, "ignored: notes.txt", *(f"ignored: labels {name}" for name in LABELS_WITHOUT_VIDEO)]:
        assert f"  {line}" in text
    assert "a plan, nothing written" in text
    assert list(tmp_path.iterdir()) == []
    assert listing(folder.path) == before


def test_an_experiment_without_labels_is_refused_before_any_work(folder, tmp_path):
    words = ("experiment", "--config", str(folder.run_file), "--source.videos", str(folder.videos))
    done = iaca(*words, "--storage.root", str(tmp_path / "out"), cwd=tmp_path)
    text = read(done, 2)
    assert text.startswith(
        "error: no video that can be used has labels, which training needs; --source.labels is empty"
    )
    assert "iaca preprocess works without labels" in text
    assert len(text.splitlines()) == 1
    assert not (tmp_path / "out/datasets").exists()


def test_the_summary_of_the_dataset_tells_what_became_of_the_folder(preprocessed):
    text, dataset = preprocessed
    assert f"{len(INPUTS)} videos, 0 partial, {len(REJECTED)} rejected, " in text
    outcomes = {(status, reason): int(n) for n, status, _, reason in re.findall(
        r"^ +(\d+) +(ok|rejected) +(\S+) +(\S+) *$", text, re.M)}  # fmt: skip
    reasons = Counter(reason for reason, _ in REJECTED.values())
    assert outcomes == {("ok", "-"): len(USABLE)} | {("rejected", reason): n for reason, n in reasons.items()}
    for line in [*WARNINGS, *WARNINGS_OF_DECODED]:
        assert len(re.findall(f"^  warning: .*{re.escape(line)}$", text, re.M)) == 1, line
    work, _, _ = text.partition("shards: 0/")
    assert all(f"\nwarning: {line}\n" in work for line in WARNINGS), "also before the work"
    assert len(re.findall("^  rejected: .+: .+$", text, re.M)) == 5
    assert f"\n  rejected: {len(REJECTED) - 5} more\n" in text
    assert f"how good it is: {dataset}/quality.html" in text
    assert f"Next: iaca train --dataset {shlex.quote(str(dataset))}" in text


def test_every_file_is_used_or_rejected_with_the_reason_in_words(folder, preprocessed):
    rows = pq.read_table(preprocessed[1] / "videos.parquet").to_pylist()
    paths = {str(Path(row["uri"]).relative_to(folder.videos)): row for row in rows}
    assert sorted(paths) == INPUTS
    assert sorted(path for path, row in paths.items() if row["status"] == "ok") == USABLE
    for path, (reason, words) in REJECTED.items():
        assert paths[path]["status"] == "rejected"
        assert paths[path]["reason"] == reason
        assert words in paths[path]["detail"], path
        assert not PYTHON.search(paths[path]["detail"])
    assert paths["dora.mp4"]["split"] == paths["dora (2).mp4"]["split"]
    assert paths["dora.mp4"]["group"] == paths["dora (2).mp4"]["group"]
    assert {row["split"] for row in rows if row["labelled_frames"] and row["status"] == "ok"} == {
        "train",
        "val",
        "test",
    }


def test_the_quality_page_shows_every_rejected_file_and_its_reason(preprocessed):
    rejected = section(page_text(preprocessed[1] / "quality.html"), " Rejected Every input", " To mend in the source")
    for name, (reason, words) in REJECTED.items():
        assert name in rejected
        assert reason in rejected
        assert words in rejected


def test_the_quality_page_lists_all_that_is_to_be_mended(preprocessed):
    page = section(page_text(preprocessed[1] / "quality.html"), " To mend in the source", " Check these first")
    for name in [
        *LABELS_WITHOUT_VIDEO,
        "carl.wav",
        "dora = dora__2_",
        "gus: 49 rows",
        "hana: 200 rows",
        "frida: 100 rows",
    ]:
        assert name in page


def test_the_clips_without_sound_are_among_those_to_check_first(preprocessed):
    page = section(page_text(preprocessed[1] / "quality.html"), " Check these first", " Contact sheets")
    assert re.search(r"without sound\.mp4 .*?no sound in the file", page)
    assert re.search(r"silent\.mp4 .*?100\.0% of it silent", page)
    assert not [name for name in USABLE if name in page and name not in ("without sound.mp4", "silent.mp4")]


def test_the_same_command_again_finds_the_dataset_complete(folder, root, preprocessed):
    before = listing(preprocessed[1])
    words = ("preprocess", *folder.words, "--storage.root", str(root))
    again = read(iaca(*words), 0)
    assert "Dataset: found complete, nothing computed\n" in again
    after_state = lambda text: text[text.index("Dataset: ") :].split("\n", 1)[1]  # noqa: E731
    assert after_state(again) == after_state(preprocessed[0])
    assert read(iaca(*words, "--strict"), 3) == again
    assert listing(preprocessed[1]) == before


def test_a_gpu_where_there_is_none_is_refused_at_once(preprocessed):
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has a GPU")
    (proposed,) = re.findall(r"^Next: iaca (.*)$", preprocessed[0], re.M)
    text = read(iaca(*shlex.split(proposed), "--train.use_gpu", "true", "--train.epochs", "3"), 2)
    (error,) = re.findall(r"^error: (.*)$", text, re.M)
    assert error.startswith("train.use_gpu is set, which needs 1 GPU, but this machine has no GPU")
    assert error.endswith("; leave train.use_gpu out, or run it on a machine with 1 GPU")


def test_the_proposed_training_runs_and_names_the_curves_and_the_evaluation(root, trained):
    (run,) = (root / "runs").iterdir()
    assert "train: 2/2 epochs" in trained
    assert f"training curve: tensorboard --logdir {shlex.quote(f'{run}/tensorboard')}" in trained
    assert list((run / "tensorboard").iterdir())
    assert f"Next: iaca evaluate --run {shlex.quote(str(run))}" in trained


def test_the_proposed_evaluation_ends_with_a_report_on_the_training_too(root, trained):
    text = follow(trained)
    (report,) = root.glob("evaluations/*/*/report.html")
    assert f"report: {report}" in text
    assert re.search(r"test CCC: valence -?\d\.\d+, arousal -?\d\.\d+, mean -?\d\.\d+, over 200 of 200 labelled", text)
    page = page_text(report)
    assert "How it was trained" in page
    assert "after each of the 2 epochs" in page
    assert "4 steps of 8 frames, of which one in 2 is seen" in page
    assert "<svg" in section(report.read_text(), "How it was trained", "What was evaluated")


def test_a_damaged_shard_is_named_and_repaired(root, preprocessed):
    shard = sorted((preprocessed[1] / "shards").glob("train-*.tar"))[1]
    content = shard.read_bytes()
    shard.write_bytes(content[:2000] + bytes([content[2000] ^ 1]) + content[2001:])
    words = ("verify", str(preprocessed[1]), "--storage.root", str(root))
    text = read(iaca(*words), 1)
    assert re.search(rf"error: 1 of \d+ shards of .*:\n  {shard.stem}: the tar has sha256 \w+, dataset.json says", text)
    assert len(re.findall(r"^  (?:train|val|test)-\d+: ", text, re.M)) == 1
    assert "1 shard of " in (repaired := read(iaca(*words, "--repair", timeout_s=600), 0))
    assert "built again, with the same bytes as before" in repaired
    assert shard.read_bytes() == content
    assert "are as they were written" in read(iaca(*words), 0)


@pytest.mark.slow
def test_a_stopped_command_prints_the_command_that_finishes_it(folder, tmp_path):
    """As by `timeout` in the background job of a script: with SIGINT ignored, SIGTERM to the whole process group."""
    root = tmp_path / "my results"
    words = ("preprocess", *folder.words, "--storage.root", str(root), "--cluster.num_workers", "1")
    running = start_iaca(*words, ignored=(signal.SIGINT,))
    until_s = time.monotonic() + 180
    while not list(root.glob("datasets/*/shards/*.tar")):
        assert running.poll() is None, running.stdout.read()
        assert time.monotonic() < until_s
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGTERM)
    text, _ = running.communicate(timeout=30)
    assert running.returncode == 130, text
    assert not PYTHON.search(text), text
    (resume,) = re.findall(r"^interrupted; what is finished is kept\. To resume: (iaca preprocess .*)$", text, re.M)
    assert not list(root.glob("datasets/*/dataset.json"))
    command = resume.replace("iaca", shlex.quote(str(Path(sys.executable).with_name("iaca"))), 1)
    done = read(subprocess.run(command, shell=True, capture_output=True, text=True, timeout=600), 0)
    assert f"{len(INPUTS)} videos, 0 partial, {len(REJECTED)} rejected" in done
    assert len(list(root.glob("datasets/*/dataset.json"))) == 1
