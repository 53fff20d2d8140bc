import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.config import UsageError
from pipeline.dataset.format.dataset_info import DatasetError
from pipeline.jobs import train
from pipeline.runtime.progress import parse, parse_notice, result_from_json, result_to_json
from pipeline.training import checkpoint, run_record
from pipeline.training.compatibility import config_for_dataset
from pipeline.training.history import read_rows
from tests.support.fake_dataset import make_segment, write_dataset
from tests.support.fake_run import finished_run, small_config, small_dataset, train_and_close

EPOCHS = 12


def job(directory, config):
    """The training job as a child process of its own session, its output in a file."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(config.to_json())
    command = [sys.executable, "-m", "pipeline.jobs.train", str(directory / "config.json")]
    with (directory / "output").open("w") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)


def finish(directory, process):
    code = process.wait(timeout=150)
    output = (directory / "output").read_text()
    assert code == 0, output
    return result_from_json((directory / "result.json").read_bytes()), output


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "talkers")


def two_workers(root, dataset):
    return small_config(root, dataset=dataset.uri, num_workers=2, epochs=EPOCHS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, dataset):
    directory = tmp_path_factory.mktemp("trained")
    process = job(directory / "job", two_workers(directory, dataset))
    return finish(directory / "job", process)


def losses(run_uri):
    return [(row["step"], row["loss"]) for row in read_rows(run_uri) if "loss" in row]


def test_two_workers_train_a_run_and_report_each_epoch(trained):
    result, output = trained
    reports = [progress for line in output.splitlines() if (progress := parse(line))]
    assert [progress.done for progress in reports if progress.stage == "train"] == list(range(1, EPOCHS + 1))
    found = run_record.read_record(result.output_uri)
    assert (found.num_epochs, found.attempts, found.num_steps) == (EPOCHS, 1, 2 * EPOCHS)
    assert found.weights_sha256 == checkpoint.weights_sha256(result.output_uri, found.best_step)
    assert [step for step, _ in losses(result.output_uri)] == list(range(1, 2 * EPOCHS + 1))
    best = json.loads(Path(result.output_uri, "best.json").read_bytes())
    assert best == {"step": found.best_step, "val_ccc_mean": found.best_ccc}
    assert Path(result.output_uri, "tensorboard", "events.out.tfevents.train").stat().st_size > 0


@pytest.mark.chaos
def test_a_killed_worker_costs_nothing_but_time(tmp_path, trained, dataset):
    undisturbed, _ = trained
    config = two_workers(tmp_path, dataset)
    process = job(tmp_path / "job", config)
    run_uri = str(tmp_path / "runs" / Path(undisturbed.output_uri).name)
    wait_until(lambda: len(checkpoint.steps(run_uri)) >= 1, process, seconds=90)
    victims = workers_of(process.pid)
    assert len(victims) == 2
    os.kill(victims[1], signal.SIGKILL)
    result, _ = finish(tmp_path / "job", process)
    assert result.output_uri == run_uri
    found = run_record.read_record(run_uri)
    assert found.attempts == 2
    resumed = [row for row in read_rows(run_uri) if "attempt" in row]
    assert resumed[-1]["attempt"] == 2
    assert 1 <= resumed[-1]["step"] < 2 * EPOCHS
    assert losses(run_uri) == losses(undisturbed.output_uri)
    assert found.weights_sha256 == run_record.read_record(undisturbed.output_uri).weights_sha256


@pytest.mark.slow
def test_what_a_worker_raises_is_not_tried_again(tmp_path):
    damaged = small_dataset(tmp_path / "damaged")
    config = config_for_dataset(small_config(tmp_path, dataset=damaged.uri, max_bad_samples=2), damaged.config)
    run_uri = run_record.run_uri(config, damaged.digest)
    assert run_record.start_attempt(run_uri) == 1  # the shards were sound when the run began
    for shard in Path(damaged.uri, "shards").glob("train-*.tar"):
        shard.write_bytes(bytes(shard.stat().st_size))
    process = job(tmp_path / "job", config)
    assert process.wait(timeout=150) == 1
    last = (tmp_path / "job/output").read_text().splitlines()[-1]
    assert last.startswith("error: training failed on worker 0: 3 samples in a row cannot be read")
    assert run_record.count_attempts(run_uri) == 2


def wait_until(condition, process, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the job ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def workers_of(ancestor):
    """Pids of the training workers below `ancestor`, ascending."""
    parents, workers = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if b"RayTrainWorker" in (folder / "cmdline").read_bytes():
                workers.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return sorted(pid for pid in workers if ancestor in ancestors(pid, parents))


def ancestors(pid, parents):
    while pid in parents:
        pid = parents[pid]
        yield pid


def test_epochs_are_reported_past_a_storage_that_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "POLL_S", 0.01)
    metrics = tmp_path / "metrics.jsonl"
    metrics.mkdir()
    with train.report_epochs(str(tmp_path), 3):
        time.sleep(0.1)
        metrics.rmdir()
        metrics.write_text('{"epoch": 1, "val_ccc_mean": 0.5, "train_loss": 0.25}\n')
    assert [parse(line).done for line in capsys.readouterr().out.splitlines()] == [1]


def test_a_finished_run_is_not_trained_again(tmp_path, dataset):
    uri = finished_run(tmp_path, dataset, epochs=1)
    before = Path(uri, "run.json").stat().st_mtime_ns
    code = (
        "import sys; from pipeline.config import Config; from pipeline.jobs import train\n"
        "result = train.run(Config.model_validate_json(sys.stdin.read()))\n"
        "assert result.skipped and 'torch' not in sys.modules and 'ray' not in sys.modules\n"
        "print(result.output_uri)"
    )
    config = small_config(tmp_path, dataset=dataset.uri, epochs=1)
    done = subprocess.run(
        [sys.executable, "-c", code], input=config.to_json(), text=True, check=True, capture_output=True
    )
    assert done.stdout.strip() == uri
    assert Path(uri, "run.json").stat().st_mtime_ns == before


class FakeTrainingError(Exception):
    """Raised in place of a training with Ray."""


def test_a_front_without_corruption_is_announced_at_once_and_kept_in_the_result(tmp_path, dataset, monkeypatch, capsys):
    config = small_config(tmp_path, dataset=dataset.uri, epochs=1)
    config = config.model_copy(update={"model": dataclasses.replace(config.model, front="reliability")})

    def fail(config, task):
        raise FakeTrainingError

    monkeypatch.setattr(train, "_train_with_ray", fail)
    with pytest.raises(FakeTrainingError):
        train.run(config)
    (notice,) = filter(None, map(parse_notice, capsys.readouterr().out.splitlines()))
    assert notice.startswith("model.front is reliability, but train.corrupt_modality is 0")
    train_and_close(config, dataset)
    result = train.run(config)
    assert result.skipped
    assert result_from_json(result_to_json(result)).warnings == (notice,)


def test_what_cannot_be_trained_is_an_error_before_any_work(tmp_path, dataset):
    def assert_usage_error(message, uri):
        with pytest.raises(UsageError, match=message):
            train.run(small_config(tmp_path, dataset=str(uri)))

    assert_usage_error(r"train\.dataset is empty", "")
    assert_usage_error("is not a finished dataset", tmp_path / "nothing")
    assert_usage_error("the val split .* has no samples", small_dataset(tmp_path / "no_val", val=0).uri)
    unlabelled = {split: [make_segment(split, split, labelled=False)] for split in ("train", "val")}
    assert_usage_error("has no labels", write_dataset(tmp_path / "unlabelled", small_config(), unlabelled).uri)
    assert not (tmp_path / "runs").exists()


def test_a_flipped_bit_is_found_before_training(tmp_path):
    damaged = small_dataset(tmp_path / "talkers")
    shard = Path(damaged.uri, "shards/val-00000.tar")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DatasetError, match=r"val-00000\.tar has sha256 .*, dataset\.json says .*; iaca verify"):
        train.run(small_config(tmp_path, dataset=damaged.uri))
    assert not (tmp_path / "runs").exists()


def test_a_view_that_does_not_fit_the_dataset_is_a_usage_error(tmp_path, dataset):
    values = small_config(tmp_path, dataset=dataset.uri).model_dump()
    values["sequence"]["num_subclips"] = 8
    values["segments"]["num_frames"] = 64
    with pytest.raises(UsageError, match=r"8 x sequence\.subclip_stride 8 = 64 must equal segments\.num_frames 32"):
        train.run(type(small_config()).model_validate(values))
