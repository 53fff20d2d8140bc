"""The grammar: overrides, short names, flags, and the messages about mistakes."""

import pkgutil
import shlex

import pytest

from flows.cli.arguments import parse
from flows.cli.commands import COMMANDS
from flows.cli.main import run
from pipeline.config import UsageError

TRAIN, VERIFY = COMMANDS["train"], COMMANDS["verify"]
ANY = COMMANDS["experiment"]


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
    assert parse(ANY, words).config.train.num_workers == 4


@pytest.mark.parametrize(
    ("words", "dry_run", "shared"),
    [
        ([], False, False),
        (["--dry-run", "--source.shared"], True, True),
        (["--dry_run", "true", "--source.shared=TRUE"], True, True),
        (["--dry-run", "--no-dry-run", "--source.no-shared"], False, False),
        (["--source.shared", "false", "--dry-run"], True, False),
        (["--no-dry-run", "false", "--source.no_shared=true"], True, False),
        (["--preprocess.dry-run", "--source.shared", "--source.shared", "false"], True, False),
    ],
)
def test_switches(words, dry_run, shared):
    config = parse(ANY, words).config
    assert (config.preprocess.dry_run, config.source.shared) == (dry_run, shared)


def test_values_have_the_types_of_their_fields():
    config = parse(
        ANY, ["--source.valence_delay_s", "-1e-3", "--name", "x", "--limit", "7", "--model.num_recursions", "2"]
    ).config
    assert (config.source.valence_delay_s, config.name, config.preprocess.limit, config.model.num_recursions) == (
        -1e-3,
        "x",
        7,
        2,
    )
    assert parse(ANY, ["--model.num_recursions", "None"]).config.model.num_recursions is None


def test_the_command_line_wins_over_the_run_file_and_may_complete_it(tmp_path):
    run_file = tmp_path / "yunet.toml"
    run_file.write_text('name = "filed"\n[faces]\ndetector = "yunet"\n[train]\nepochs = 3\n')
    completed = ["--faces.model_uri", "a.onnx", "--faces.model_sha256", "00", "--train.epochs", "5"]
    config = parse(ANY, ["--config", str(run_file), *completed]).config
    assert (config.name, config.faces.model_uri, config.train.epochs) == ("filed", "a.onnx", 5)


def test_the_command_line_may_complete_a_run_file_that_is_not_allowed_alone(tmp_path):
    run_file = tmp_path / "half.toml"
    run_file.write_text("[sequence]\nsubclip_frames = 30\n")
    with pytest.raises(UsageError, match=r"half\.toml: sequence\.subclip_frames 30 must be a multiple"):
        parse(ANY, ["--config", str(run_file)])
    assert parse(ANY, ["--config", str(run_file), "--sequence.subclip_dilation", "3"]).config.sequence.num_subsampled


def test_a_preset_of_the_model_is_its_default():
    model = parse(ANY, ["--model.preset", "faithful", "--model.gate_relu", "false"]).config.model
    assert (model.preset, model.temporal, model.gate_init, model.gate_relu) == ("faithful", "blstm", "xavier", False)


def test_a_preset_with_a_plus_needs_no_quotes_in_a_shell():
    model = parse(ANY, shlex.split("--model.preset jca+ --model.base ca")).config.model
    assert (model.preset, model.front, model.base, model.gate) == ("jca+", "reliability", "ca", "none")


def test_short_names_of_commands():
    assert parse(TRAIN, ["--dataset", "s3://b/d"]).config.train.dataset == "s3://b/d"
    assert parse(VERIFY, ["s3://b/d", "-v"]).config.verify.dataset == "s3://b/d"
    assert parse(VERIFY, ["--repair", "s3://b/d"]).config.verify.dataset == "s3://b/d"
    assert parse(VERIFY, ["--dataset", "s3://b/d"]).config.verify.dataset == "s3://b/d"
    assert parse(COMMANDS["extract"], ["--dataset", "d", "--run=r"]).config.extract.run == "r"
    assert parse(COMMANDS["evaluate"], ["--run", "r"]).config.evaluate.run == "r"


def test_a_value_may_resemble_an_option():
    request = parse(VERIFY, ["repair"])
    assert (request.config.verify.dataset, request.config.verify.repair) == ("repair", False)
    request = parse(VERIFY, ["verbose"])
    assert (request.config.verify.dataset, request.verbose) == ("verbose", False)
    assert parse(TRAIN, ["--name", "strict"]).config.name == "strict"
    assert parse(ANY, ["--source.videos", "-odd"]).config.source.videos == "-odd"


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (TRAIN, ["--dataset", "a", "--train.dataset", "b"], "--dataset and --train.dataset are the same setting"),
        (VERIFY, ["a", "--dataset", "b"], "'a' and --dataset are the same setting; give one of them"),
        (TRAIN, ["--name", ""], "name is ''"),
    ],
)
def test_no_argument_is_ignored(command, arguments, message):
    with pytest.raises(UsageError, match=message):
        parse(command, arguments)


def test_flags_of_the_command_line_itself():
    request = parse(TRAIN, ["--strict", "-v"])
    assert (request.strict, request.verbose) == (True, True)
    request = parse(TRAIN, ["--verbose"])
    assert (request.strict, request.verbose) == (False, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train.epoch", "3"], "unknown option --train.epoch; did you mean --train.epochs?"),
        (["--datasett", "x"], "did you mean --dataset?"),
        (["--zzz"], "unknown option --zzz; iaca train --help lists them"),
        (["--train.zzz", "3"], "unknown option --train.zzz; there are --train.num_workers, --train.use_gpu, "),
        (["--faces", "x"], "unknown option --faces; there are --faces.detector, "),
        (["--train.lr", "1e-4"], "unknown option --train.lr; did you mean --train.learning_rate?"),
        (["--lr", "1e-4"], "did you mean --train.learning_rate?"),
        (["--batch-size=4"], "did you mean --train.batch_size?"),
        (["--epochs", "4"], "did you mean --train.epochs?"),
        (["--output", "o"], "did you mean --storage.root?"),
        (["--data", "d"], "did you mean --dataset?"),
        (["--num_workers", "4"], "did you mean --train.num_workers or --cluster.num_workers?"),
        (["--gpu"], "did you mean --train.use_gpu?"),
        (["--resume"], "unknown option --resume; an interrupted command continues when it is run again"),
        (["--train.optimizer", "adam"], "unknown option --train.optimizer; the optimizer is AdamW"),
        (["--verbos"], "did you mean --verbose?"),
        (["--train.no-epochs"], "did you mean --train.epochs?"),
        (["--no-epoch"], "did you mean --train.epochs?"),
        (["--l-no-r", "3"], "unknown option --l_no_r; iaca train --help lists them"),
        (["data"], "unexpected argument 'data'; did you mean --dataset data?"),
        (["-x"], "unexpected argument '-x'"),
        (["--train.epochs"], "--train.epochs needs a value after it"),
        (["--train.epochs", "--strict"], "--train.epochs needs a value after it"),
        (["--train.use_gpu", "cuda"], "--train.use_gpu is 'cuda'; allowed: true, false, or no value"),
        (["--strict", "yes"], "--strict is 'yes'; allowed: true, false, or no value"),
        (["-dataset", "x"], "unexpected argument '-dataset'; did you mean --dataset?"),
        (["--train.epochs", "x3"], "train.epochs is 'x3'; allowed: a whole number, at least 1"),
        (["--model.gate", "boo"], "model.gate is 'boo'; allowed: none, dca, iaca"),
        (["--train.use_gpu=maybe"], "--train.use_gpu is 'maybe'; allowed: true, false, or no value"),
        (["--media.crop_px", "3"], "media.crop_px is 3; allowed: 16 to 512"),
    ],
)
def test_mistakes_are_named(words, message):
    with pytest.raises(UsageError) as caught:
        parse(TRAIN, words)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words", "option"),
    [
        ("experiment", ["--data", "d"], "--source.videos?"),
        ("preprocess", ["videos"], "--source.videos videos?"),
        ("preprocess", ["--num_videos", "3"], "--limit?"),
        ("evaluate", ["--ckpt", "r"], "--run?"),
        ("evaluate", ["r"], "--run r?"),
        ("ablate", ["--lr", "1"], "--ablate.learning_rate?"),
        ("extract", ["--gpus", "1"], "--extract.use_gpu?"),
        ("verify", ["d", "--fix"], "--repair?"),
        ("train", ["--model.feature_dm", "3"], "--model.feature_dim?"),
    ],
)
def test_what_is_proposed_fits_the_command(name, words, option):
    with pytest.raises(UsageError) as caught:
        parse(COMMANDS[name], words)
    assert str(caught.value).endswith(f"did you mean {option}")


def test_no_input_is_proposed_where_there_are_several():
    with pytest.raises(UsageError, match=r"unexpected argument 'extra'; options start with --"):
        parse(COMMANDS["config"], ["extra"])


def test_an_input_may_follow_a_flag_and_yes_may_not():
    assert parse(VERIFY, ["--repair", "s3://b/d"]).config.verify.dataset == "s3://b/d"
    with pytest.raises(UsageError, match="--repair is 'yes'"):
        parse(VERIFY, ["d", "--repair", "yes"])


@pytest.mark.parametrize(
    ("name", "value", "commands"),
    [
        ("extend", "/data", {"demo", "preprocess", "experiment"}),
        ("retry_rejected", "true", {"demo", "preprocess", "experiment"}),
        ("repair", "true", {"verify"}),
    ],
)
def test_options_of_some_commands_are_refused_by_the_others(name, value, commands, tmp_path, capsys):
    (tmp_path / "dataset.json").touch()
    assert {command.name for command in COMMANDS.values() if name in command.shortcuts} == commands
    assert run(["train", "--dataset", str(tmp_path), f"--{name}", value]) == 2
    assert f"--{name.replace('_', '-')} is not for iaca train" in capsys.readouterr().err


def test_every_command_leads_to_a_function():
    for command in COMMANDS.values():
        assert command.name == "config" or callable(pkgutil.resolve_name(command.flow))


def test_what_was_given_is_known_by_its_full_names():
    words = ["--dataset", "d", "--config", "demo", "--train.batch-size=4", "--train.use_gpu", "false", "--name", "mine"]
    given = {"config": "demo", "name": "mine", "train.dataset": "d", "train.batch_size": "4", "train.use_gpu": "false"}
    assert parse(TRAIN, words).options == given
    assert parse(ANY, []).options == {}
