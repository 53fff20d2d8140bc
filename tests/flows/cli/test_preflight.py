"""Checks before anything starts: the operating systems."""

import pytest

from flows.cli.commands import COMMANDS
from flows.cli.preflight import require_system
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
