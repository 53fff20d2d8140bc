"""Completion: bash runs the script and completes commands, options and values as it would at a prompt."""

import os
import shlex
import shutil
import subprocess

import pytest

from flows.cli.commands import COMMANDS
from pipeline.config.settings import all_settings
from tests.support.processes import IACA, environment, iaca

# bash splits the line at "=" too, and gives the function the command, the current word and the one before it.
PROMPT = """
source <({iaca} completion bash) || exit 1
COMP_WORDS=({words}) COMP_CWORD={last}
_iaca iaca {current} {previous}
printf '%s\\n' "${{COMPREPLY[@]}}"
complete -p iaca
"""


def completed(*words):
    """What bash proposes for the last of these words, which is the one that is being typed."""
    words = ["iaca", *words]
    names = {"words": shlex.join(words), "last": len(words) - 1}
    script = PROMPT.format(iaca=IACA, **names, current=shlex.quote(words[-1]), previous=shlex.quote(words[-2]))
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    *proposed, registered = done.stdout.splitlines()
    assert registered == "complete -o default -F _iaca iaca"
    return [word for word in proposed if word]


def test_commands_are_completed():
    assert completed("") == list(COMMANDS)
    assert completed("tr") == ["train"]
    assert completed("zz") == []


def test_options_are_those_of_the_command():
    assert completed("train", "--train.ep") == ["--train.epochs"]
    assert completed("train", "--faces.det") == []
    assert completed("preprocess", "--faces.detecto") == ["--faces.detector"]
    assert completed("preprocess", "--dry") == ["--dry-run"]
    assert completed("evaluate", "--run", "there", "--da") == ["--dataset"]
    assert len(completed("experiment", "--")) > 100
    assert completed("version", "--") == ["--help"]


def test_values_are_completed_after_their_option():
    assert completed("train", "--config", "talk") == ["talking_faces"]
    assert completed("preprocess", "--faces.detector", "") == ["haar", "yunet"]
    assert completed("preprocess", "--faces.detector", "=", "yu") == ["yunet"]
    assert completed("preprocess", "--faces.detector", "=") == ["haar", "yunet"]
    assert completed("train", "--model.preset", "iaca") == ["iaca", "iaca+"]
    assert completed("train", "--model.preset", "iaca+") == ["iaca+"]
    assert completed("preprocess", "--source.videos", "") == [], "bash itself completes files then"
    assert completed("completion", "") == ["bash", "zsh", "tcsh"]


def test_the_other_shells_get_all_commands_and_settings():
    for shell in ("zsh", "tcsh"):
        script = iaca("completion", shell).stdout
        assert [name for name in (*COMMANDS, *all_settings()) if name not in script] == []
    assert "bashcompinit" in iaca("completion", "zsh").stdout
    assert iaca("completion", "tcsh").stdout.startswith("complete iaca 'p/1/(demo ")


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh here")
def test_zsh_takes_its_script():
    script = f"source <({IACA} completion zsh) && print $_comps[iaca]"
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, env=os.environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert "_iaca" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "for which shell? iaca completion bash|zsh|tcsh"),
        (["fish"], "iaca completion takes one of bash, zsh, tcsh, not 'fish'"),
    ],
)
def test_a_shell_must_be_known(words, message):
    result = iaca("completion", *words)
    assert (result.returncode, result.stderr) == (2, f"error: {message}\n")
