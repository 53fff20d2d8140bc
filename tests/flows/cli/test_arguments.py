"""The grammar: overrides, short names, flags and what is said about mistakes."""

import pytest

from flows.cli.arguments import Command, parse
from flows.cli.main import COMMANDS, run
from pipeline.config import UsageError

TRAIN, VERIFY = COMMANDS["train"], COMMANDS["verify"]
ANY = Command("any", "", ())


@pytest.mark.parametrize(
    "words",
    [
        ["--train.num_workers", "4"],
        ["--train.num-workers", "4"],
        ["--train.num-workers=4"],
        ["--train.num_workers", "9", "--train.num_workers", "4"],
    ],
)
def test_underscores_dashes_and_equals_are_the_same(words):
    assert parse(ANY, words).config().train.num_workers == 4


@pytest.mark.parametrize(
    ("words", "dry_run", "shared"),
    [
        ([], False, False),
        (["--dry-run", "--source.shared"], True, True),
        (["--dry_run", "true", "--source.shared=TRUE"], True, True),
        (["--dry-run", "--no-dry-run", "--source.no-shared"], False, False),
        (["--source.shared", "false", "--dry-run"], True, False),
    ],
)
def test_switches(words, dry_run, shared):
    config = parse(ANY, words).config()
    assert (config.preprocess.dry_run, config.source.shared) == (dry_run, shared)


def test_values_have_the_types_of_their_fields():
    config = parse(
        ANY, ["--source.valence_delay_s", "-1e-3", "--name", "x", "--limit", "7", "--model.num_recursions", "2"]
    ).config()
    assert (config.source.valence_delay_s, config.name, config.preprocess.limit, config.model.num_recursions) == (
        -1e-3,
        "x",
        7,
        2,
    )
    assert parse(ANY, ["--model.num_recursions", "None"]).config().model.num_recursions is None


def test_the_command_line_wins_over_the_run_file_and_may_complete_it(tmp_path):
    run_file = tmp_path / "yunet.toml"
    run_file.write_text('name = "filed"\n[faces]\ndetector = "yunet"\n[train]\nepochs = 3\n')
    completed = ["--faces.model_uri", "a.onnx", "--faces.model_sha256", "00", "--train.epochs", "5"]
    config = parse(ANY, ["--config", str(run_file), *completed]).config()
    assert (config.name, config.faces.model_uri, config.train.epochs) == ("filed", "a.onnx", 5)


def test_short_names_of_commands():
    assert parse(TRAIN, ["--dataset", "s3://b/d"]).config().train.dataset == "s3://b/d"
    assert parse(VERIFY, ["s3://b/d", "-v"]).config().evaluate.dataset == "s3://b/d"
    assert parse(COMMANDS["evaluate"], ["--run", "r"]).config().evaluate.run == "r"


def test_flags_of_the_command_line_itself():
    assert parse(TRAIN, ["--strict", "-v"]).flags == {"strict", "verbose"}
    assert parse(TRAIN, ["-h"]).flags == {"help"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--train.epoch", "3"], "unknown option --train.epoch; did you mean --train.epochs?"),
        (["--datasett", "x"], "did you mean --dataset?"),
        (["--zzz"], "iaca train --help lists them"),
        (["--train.no-epochs"], "did you mean --train.epochs?"),
        (["data"], "unexpected argument 'data'"),
        (["-x"], "unexpected argument '-x'"),
        (["--train.epochs"], "option --train.epochs needs a value"),
        (["--train.epochs", "--strict"], "option --train.epochs needs a value"),
        (["--train.epochs", "x3"], "train.epochs: Input should be a valid integer"),
        (["--model.gate", "boo"], "model.gate: Input should be 'none', 'dca', 'iaca'"),
        (["--train.use_gpu=maybe"], "train.use_gpu: Input should be a valid boolean"),
        (["--media.crop_px", "3"], "media.crop_px is 3; allowed: 16 to 512"),
    ],
)
def test_mistakes_are_named(words, says):
    with pytest.raises(UsageError) as caught:
        parse(TRAIN, words).config()
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "taken_by"),
    [
        ("extend", {"demo", "preprocess", "experiment"}),
        ("retry_rejected", {"demo", "preprocess", "experiment"}),
        ("repair", {"verify"}),
    ],
)
def test_options_of_some_commands_are_refused_by_the_others(name, taken_by):
    assert {command.name for command in COMMANDS.values() if command.takes(name)} - {"config"} == taken_by
    assert run(["train", "--dataset", "/data", f"--{name}", "true"]) == 2
