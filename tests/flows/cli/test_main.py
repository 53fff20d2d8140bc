"""The command line as its users meet it: a process, its arguments and its exit code."""

import hashlib
import json
import signal
import subprocess
import time

import pytest

from flows.cli.commands import COMMANDS
from tests.support.processes import IACA, gone, iaca, iaca_on_terminal, start_iaca, wait_for


@pytest.fixture
def dataset(tmp_path):
    """A folder that says it is a complete dataset."""
    (tmp_path / "dataset.json").touch()
    return str(tmp_path)


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_is_quick(words):
    """Under a second; the best of three, because other processes share the machine."""
    times_s = []
    for _ in range(3):
        started_s = time.perf_counter()
        result = iaca(*words)
        times_s.append(time.perf_counter() - started_s)
        assert (result.returncode, result.stderr) == (0, "")
        if times_s[-1] < 1.0:
            break
    assert min(times_s) < 1.0


def test_overview_names_every_command_and_exit_code():
    overview = iaca().stdout
    assert all(f"  {name} " in overview for name in COMMANDS)
    assert all(f"{code} " in overview for code in (0, 1, 2, 3, 130))


def test_help_of_a_command_explains_its_options():
    text = iaca("train", "--help").stdout
    assert all(option in text for option in ("--config", "--dataset", "--train.num_workers", "sequences in a batch"))
    assert not any(option in text for option in ("--faces.detector", "--limit", "--dry_run", "--strict"))
    assert all(option in iaca("preprocess", "--help").stdout for option in ("--limit", "--dry_run", "--strict"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown command 'trian'; did you mean train?"),
        (["Train"], "unknown command 'Train'; did you mean train?"),
        (["-v", "train"], "the command comes first: iaca COMMAND -v ...; there are demo, "),
        (["train"], "iaca train needs --dataset URI"),
        (
            ["train", "--config", "talking_face"],
            "talking_face.toml does not exist; did you mean talking_faces? by name",
        ),
        (["help", "trian"], "did you mean train?"),
        (["evaluate"], "iaca evaluate needs --run URI"),
        (["extract", "--run", "r"], "iaca extract needs --dataset URI"),
        (["verify", "d"], "verify.dataset {}/d does not exist"),
        (["verify", "."], "has no dataset.json: it is incomplete, or not a dataset or run"),
        (["verify"], "iaca verify needs --dataset URI"),
        (["preprocess"], "iaca preprocess needs --source.videos URI"),
        (["train", "--train.epoch", "3"], "unknown option --train.epoch; did you mean --train.epochs?"),
        (["train", "--train.epochs", "x"], "train.epochs is 'x'; allowed: a whole number, at least 1"),
        (["config", "--config", "nowhere.toml"], "configuration file nowhere.toml does not exist"),
        (["preprocess", "--source.videos", "v"], "source.videos {}/v does not exist"),
        (["preprocess", "--source.videos", ".", "--source.labels", "l"], "source.labels {}/l does not exist"),
        (["preprocess", "--source.videos", ".", "--source.crops", "c"], "source.crops {}/c does not exist"),
        (["preprocess", "--source.videos", ".", "--source.lists", "l"], "source.lists {}/l does not exist"),
        (["preprocess", "--source.videos", ".", "--source.manifest", "m"], "source.manifest {}/m does not exist"),
        (["preprocess", "--source.videos", ".", "--faces.model_uri", "m"], "faces.model_uri {}/m does not exist"),
        (["preprocess", "--source.videos", ".", "--extend", "d"], "preprocess.extend {}/d does not exist"),
        (["experiment", "--source.videos", ".", "--weights.video", "w"], "weights.video {}/w does not exist"),
        (["demo", "--config", "", "--source.crops", "c"], "source.crops {}/c does not exist"),
        (["extract", "--dataset", ".", "--run", "r"], "has no dataset.json"),
        (["preprocess", "--source.videos", ".", "--faces.detector", "yunet"], "which needs faces.model_uri"),
        (["preprocess", "--source.videos", ".", "--faces.detector", "yunet"], "`iaca fetch-model yunet --storage.root"),
        (["fetch-model", "retinaface"], "fetch_model.name is 'retinaface'; allowed: yunet"),
        (["fetch-model", "yunet", "--uri", "m.onnx"], "fetch_model.uri {}/m.onnx cannot be read"),
        (["train", "--dataset", "d", "--uri", "m"], "unknown option --uri"),
        (["experiment", "--source.videos", ".", "--train.dataset", "d"], "makes its own train.dataset"),
        (["demo", "--config", "", "--evaluate.run", "r"], "makes its own evaluate.run"),
        (["experiment", "--source.videos", ".", "--segments.num_frames", "64"], "must equal segments.num_frames 64"),
        (["train", "--dataset", ".", "--dry-run"], "iaca train has no plan to print"),
        (["train", "--dataset", "d"], "/d does not exist"),
        (["train", "--dataset", ".", "--weights.audio", "w.pth"], "/w.pth does not exist"),
        (["train", "--dataset", "."], "has no dataset.json: it is incomplete, or not a dataset or run"),
        (["evaluate", "--run", "."], "has no run.json: it is incomplete, or not a dataset or run"),
        (["verify", "a", "b"], "unexpected argument 'b'"),
        (["verify", "d", "--verify.repair", "--source.crops", "c", "--storage.root", "gs://b"], "storage.root: cannot"),
        (["preprocess", "--source.videos", "gs://b/v"], "cannot use 'gs://b/v' as a URI of files"),
        (
            ["preprocess", "--source.videos", "/videos", "--cluster.address", "http://head:8265"],
            "source.videos is /videos, a path of this machine, which the cluster at http://head:8265 may not see",
        ),
        (
            ["preprocess", "--source.videos", "/videos", "--source.shared", "--cluster.address", "http://head:8265"],
            "/outputs, a path of this machine, which the cluster at http://head:8265 may not see",
        ),
        (
            ["train", "--dataset", "/d", "--cluster.address", "http://head:8265", "--storage.root", "s3://b/r"],
            "train.dataset is /d, a path of this machine",
        ),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(words, message, tmp_path):
    result = iaca(*words, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message.format(tmp_path) in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_settings_that_a_command_does_not_use_are_accepted_unchecked(tmp_path):
    unused = ["--faces.detector", "yunet", "--segments.num_frames", "64", "--media.frame_rate_hz", "30", "--limit", "2"]
    result = iaca("train", "--dataset", str(tmp_path / "d"), *unused)
    assert result.stderr == f"error: train.dataset {tmp_path}/d does not exist\n"


def test_run_files_are_found_by_name_from_any_folder(tmp_path):
    result = iaca("demo", "--train.dataset", "x", cwd=tmp_path)
    assert result.returncode == 2
    assert "iaca demo makes its own train.dataset" in result.stderr, "it has found its run file"
    result = iaca("train", "--config", "nonesuch", cwd=tmp_path)
    assert result.returncode == 2
    assert "nonesuch.toml does not exist; by name alone there are ablation, affwild2, demo" in result.stderr


def test_a_file_that_is_not_the_model_is_refused_with_both_sums(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"something else")
    result = iaca("fetch-model", "yunet", "--uri", "m.onnx", cwd=tmp_path)
    assert result.returncode == 1
    assert (
        f"has sha256 {hashlib.sha256(b'something else').hexdigest()} (14 bytes), but yunet has 8f2383e" in result.stderr
    )
    assert list(tmp_path.glob("outputs/models/*")) == []


def test_config_prints_what_will_be_used(tmp_path):
    (tmp_path / "run.toml").write_text('name = "mine"\n[train]\nepochs = 3\n')
    result = iaca("config", "--config", str(tmp_path / "run.toml"), "--train.batch-size", "4")
    config = json.loads(result.stdout)
    assert (config["name"], config["train"]["epochs"], config["train"]["batch_size"]) == ("mine", 3, 4)


def test_a_reader_that_leaves_early_is_no_error():
    piped = subprocess.run(f"{IACA} train --help | head -1", shell=True, capture_output=True, text=True)
    assert piped.stderr == ""
    assert piped.stdout.startswith("usage: iaca train")


def test_a_job_without_a_flow_shows_progress_lines_and_a_summary(fake_jobs, tmp_path):
    result = iaca("synthesize", "--storage.root", str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    assert "synthesize: 4/4 things" in result.stdout
    assert "\nwarning: a notice of synthesize\n" in result.stdout
    assert "Synthetic talkers: done in" in result.stdout
    (next_step,) = (line for line in result.stdout.splitlines() if line.startswith("Next: iaca experiment "))
    assert f" --source.videos {tmp_path}/synthesize/videos " in next_step
    assert next_step.endswith(f" --storage.root {tmp_path}")
    assert "ordinary output" not in result.stdout
    assert "found complete" in iaca("synthesize", "--storage.root", str(tmp_path)).stdout


def test_a_terminal_gets_bars(fake_jobs, tmp_path):
    code, output = iaca_on_terminal("synthesize", "--storage.root", str(tmp_path))
    assert code == 0
    assert "4/4" in output
    assert "━" in output
    assert "warning: a notice of synthesize" in output
    assert "synthesize: 4/4" not in output


def test_verbose_shows_the_whole_output(fake_jobs, tmp_path):
    result = iaca("synthesize", "--storage.root", str(tmp_path), "-v")
    assert "ordinary output of synthesize, verbose=1" in result.stdout


@pytest.mark.parametrize(
    ("behaviour", "code", "message"),
    [
        ("usage", 2, "error: the source is empty; set --source.videos"),
        ("fail", 1, "error: the disk is full"),
        ("crash", 1, "error: last lines of its output\n  ordinary output of verify"),
    ],
)
def test_a_job_that_fails_is_quoted_without_a_traceback(fake_jobs, dataset, tmp_path, behaviour, code, message):
    fake_jobs(verify=behaviour)
    result = iaca("verify", dataset, "--storage.root", str(tmp_path))
    assert result.returncode == code
    assert result.stderr.startswith(message)
    assert "Traceback" not in result.stderr + result.stdout
    log = next(tmp_path.glob("jobs/verify-*/job.log"))
    assert "ordinary output of verify" in log.read_text()
    assert (str(log) in result.stderr) == (code == 1)


def test_a_list_in_an_error_is_printed_up_to_a_limit(fake_jobs, dataset, tmp_path):
    fake_jobs(verify="list")
    lines = iaca("verify", dataset, "--storage.root", str(tmp_path)).stderr.splitlines()
    assert lines[0] == "error: 60 shards are damaged:"
    assert lines[1:40] == [f"  train-{number}: the tar is missing" for number in range(39)]
    assert lines[40] == "  and 21 more"
    assert lines[41].startswith("the job's whole output is in ")


def test_an_error_far_above_the_end_is_not_the_reason(fake_jobs, dataset, tmp_path):
    fake_jobs(verify="old error")
    result = iaca("verify", dataset, "--storage.root", str(tmp_path))
    assert result.stderr.startswith("error: last lines of its output\n  0\n")


@pytest.mark.parametrize(("words", "code"), [([], 0), (["--strict"], 3)])
def test_strict_counts_rejected_inputs(fake_jobs, dataset, tmp_path, words, code):
    fake_jobs(verify="reject")
    assert iaca("verify", dataset, "--storage.root", str(tmp_path), *words).returncode == code


@pytest.mark.parametrize("ignored", [(), (signal.SIGINT, signal.SIGHUP)])
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_stops_the_job_and_reports_how_to_resume(fake_jobs, dataset, tmp_path, sign, ignored):
    """Also as the background job of a script, which has SIGINT ignored, and under nohup, which has SIGHUP."""
    fake_jobs(verify="sleep")
    words = ("verify", dataset, "--storage.root", str(tmp_path))
    running = start_iaca(*words, ignored=ignored)
    grandchild = wait_for(tmp_path / "verify/grandchild")
    job = (tmp_path / "verify/attempt-1").read_text()
    if signal.SIGHUP in ignored:
        running.send_signal(signal.SIGHUP)
    running.send_signal(sign)
    output, _ = running.communicate(timeout=30)
    assert running.returncode == 130
    assert (tmp_path / "verify/interrupted").exists()
    assert f"To resume: iaca {' '.join(words)}" in output
    assert "Traceback" not in output
    assert gone(job)
    assert gone(grandchild)


@pytest.mark.parametrize("root", ["{}/file/root", "/proc/iaca"])
def test_a_root_that_cannot_be_written_is_refused_at_once(dataset, tmp_path, root):
    (tmp_path / "file").touch()
    root = root.format(tmp_path)
    result = iaca("train", "--dataset", dataset, "--storage.root", root)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    reasons = ("no file can be created in ", f"{tmp_path}/file is a file, not a folder")
    assert result.stderr.startswith(tuple(f"error: storage.root {root}: {reason}" for reason in reasons))
    assert "choose another folder with --storage.root" in result.stderr


def test_a_root_that_can_be_written_is_left_as_it_was(dataset, tmp_path):
    """A check of the root that left a trace would be visible in a command that is refused for another reason."""
    before = sorted(tmp_path.rglob("*"))
    assert iaca("verify", dataset, "--storage.root", str(tmp_path / "new")).returncode == 1, "the dataset is empty"
    left = {path.name for path in tmp_path.rglob("*") if path not in before}
    assert {name for name in left if not name.startswith("verify-")} == {"new", "jobs", "config.json", "job.log"}


@pytest.mark.chaos
def test_a_job_does_not_outlive_a_killed_command_line(fake_jobs, dataset, tmp_path):
    fake_jobs(verify="sleep")
    running = start_iaca("verify", dataset, "--storage.root", str(tmp_path))
    wait_for(tmp_path / "verify/grandchild")
    job = (tmp_path / "verify/attempt-1").read_text()
    running.kill()
    running.wait()
    assert gone(job)
