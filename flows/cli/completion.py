"""The command `iaca completion`: a script that completes commands, options and values in a shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args, get_origin

from flows.cli.commands import COMMANDS, Command
from iaca_model.config import PRESETS
from pipeline.config import UsageError
from pipeline.config.run_files import run_file_names
from pipeline.config.settings import all_settings

SHELLS = ("bash", "zsh", "tcsh")
_BASH = """\
_iaca() {
  local current=$2 previous=$3 options=
  if [[ $current == = ]]; then current=; fi
  if [[ $previous == = ]]; then previous=${COMP_WORDS[COMP_CWORD-2]}; fi
  COMPREPLY=()
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=($(compgen -W "COMMANDS" -- "$current"))
    return
  fi
  case $previous in
VALUES
  esac
  if [[ $options ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$current"))
  elif [[ $current == -* ]]; then
    case ${COMP_WORDS[1]} in
OPTIONS
    esac
    COMPREPLY=($(compgen -W "$options" -- "$current"))
  fi
}
complete -o default -F _iaca iaca
"""


def print_completion(arguments: Sequence[str]) -> None:
    """Print the script for a shell.

    Raises:
        UsageError: the shell is not given, or not known.
    """
    match arguments:
        case ["bash"]:
            print(_bash(), end="")
        case ["zsh"]:
            print("autoload -Uz compinit bashcompinit && compinit && bashcompinit\n" + _bash(), end="")
        case ["tcsh"]:
            print(_tcsh(), end="")
        case []:
            raise UsageError(f"for which shell? iaca completion {'|'.join(SHELLS)}")
        case _:
            raise UsageError(f"iaca completion takes one of {', '.join(SHELLS)}, not {' '.join(arguments)!r}")


def options_of(command: Command) -> list[str]:
    """The options that the help of a command lists, with their dashes; short ones as the documentation spells them."""
    if not command.takes_settings:
        return ["--help"]
    settings = [name for name, one in all_settings().items() if name == "name" or one.section in command.sections]
    strict = ["strict"] if command.can_reject else []
    short = [name.replace("_", "-") for name in command.shortcuts]
    return [f"--{name}" for name in ("config", *strict, "verbose", "help", *short, *settings)]


def _choices() -> Mapping[str, Sequence[str]]:
    """The values of every option that has a fixed number of them, by the option with its dashes; presets by name."""
    options = {name: name for name in all_settings()}
    options |= {short: name for command in COMMANDS.values() for short, name in command.shortcuts.items()}
    kinds = {option: all_settings()[name].type for option, name in options.items()}
    choices = {f"--{option}": get_args(kind) for option, kind in kinds.items() if get_origin(kind) is Literal}
    return choices | {"--model.preset": tuple(PRESETS)}


def _bash() -> str:
    values = [f"    {option}) options='{' '.join(texts)}' ;;" for option, texts in _choices().items()]
    values += [f"    --config) options='{' '.join(run_file_names())}' ;;"]
    values += [f"    completion) options='{' '.join(SHELLS)}' ;;"]
    options = [f"      {name}) options='{' '.join(options_of(command))}' ;;" for name, command in COMMANDS.items()]
    return _filled(_BASH, {"COMMANDS": " ".join(COMMANDS), "VALUES": "\n".join(values), "OPTIONS": "\n".join(options)})


def _filled(template: str, parts: Mapping[str, str]) -> str:
    for name, text in parts.items():
        template = template.replace(name, text)
    return template


def _tcsh() -> str:
    """One `complete` command: the first word from the commands, values after their option, then options."""
    values = [f"'n/{option}/({' '.join(texts)})/'" for option, texts in _choices().items()]
    values += [f"'n/--config/({' '.join(run_file_names())})/'", f"'n/completion/({' '.join(SHELLS)})/'"]
    every = dict.fromkeys(option for command in COMMANDS.values() for option in options_of(command))
    parts = [f"'p/1/({' '.join(COMMANDS)})/'", *values, f"'c/--/({' '.join(option[2:] for option in every)})/'"]
    return f"complete iaca {' '.join(parts)}\n"
