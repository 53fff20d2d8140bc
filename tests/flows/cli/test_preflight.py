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


@pytest.mark.parametrize(
    ("command", "changes", "is_refused"),
    [
        ("preprocess", {"preprocess": {"dry_run": True}}, False),
        ("demo", {"preprocess": {"dry_run": True}}, True),
        ("preprocess", {"preprocess": {"dry_run": True}, "source": {"shared": True}, **ON_CLUSTER}, True),
        ("preprocess", {}, True),
    ],
)
def test_a_root_must_be_writable_where_something_is_written(tmp_path, command, changes, is_refused):
    """A plan writes nothing, but the talkers that it needs are drawn, and a cluster reads its jobs' configurations."""
    videos = {} if command == "demo" else {"videos": str(tmp_path)}
    source = {**videos, **changes.get("source", {})}
    config = load(None, {**changes, "source": source, "storage": {"root": "/proc/iaca", "shared": True}})
    if not is_refused:
        check(COMMANDS[command], config)
        return
    with pytest.raises(UsageError, match=r"storage.root /proc/iaca: no file can be created"):
        check(COMMANDS[command], config)
