"""Checks before anything starts: the operating system, and what lies at a URI."""

import pytest

from flows.cli.commands import COMMANDS
from flows.cli.preflight import check, require_system
from pipeline.config import UsageError, load

ON_CLUSTER = {"cluster": {"address": "http://head:8265"}}
REPAIRING = {"verify": {"repair": True}}


@pytest.mark.parametrize(
    ("system", "command", "changes", "refusal"),
    [
        ("linux", "demo", {}, ""),
        ("darwin", "demo", {}, "decoded on Linux only, and this is darwin"),
        ("darwin", "preprocess", {}, "decoded on Linux only"),
        ("darwin", "preprocess", ON_CLUSTER, ""),
        ("darwin", "verify", {}, ""),
        ("darwin", "verify", REPAIRING, "decoded on Linux only"),
        ("darwin", "train", {}, ""),
        ("win32", "train", {}, "in WSL 2"),
        ("win32", "preprocess", ON_CLUSTER, "in WSL 2"),
    ],
)
def test_what_a_system_cannot_do_is_refused(system, command, changes, refusal):
    stages, config = COMMANDS[command].stages, load(None, changes)
    if not refusal:
        require_system(stages, config, system)
        return
    with pytest.raises(UsageError, match=refusal):
        require_system(stages, config, system)


@pytest.mark.parametrize(
    ("markers", "uri", "message"),
    [
        (["it/run.json"], "it", "train.dataset {}/it is a training run, not a dataset"),
        (["it/metrics.json"], "it", "train.dataset {}/it is an evaluation, not a dataset"),
        (["it/source.json"], "it", "is a set of synthetic talkers, raw videos for --source.videos, not a dataset"),
        (["it/dataset.json"], "it/shards", "{0}/it/shards is a part of a dataset; did you mean {0}/it?"),
        (["it/README.md"], "it", "{}/it has no dataset.json: it is incomplete, or not a dataset or run"),
    ],
)
def test_what_lies_at_a_uri_is_recognised(tmp_path, markers, uri, message):
    (tmp_path / "it/shards").mkdir(parents=True)
    for marker in markers:
        (tmp_path / marker).touch()
    with pytest.raises(UsageError) as caught:
        check(COMMANDS["train"], load(None, {"train": {"dataset": str(tmp_path / uri)}}))
    assert message.format(tmp_path) in str(caught.value)
