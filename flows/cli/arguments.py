"""The grammar of the command line: `--section.field value` on top of a run file, and the help that lists them."""

from __future__ import annotations

import dataclasses
import difflib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pipeline.config import Config, UsageError, load

FLAGS = {"strict": "strict", "verbose": "verbose", "v": "verbose", "help": "help", "h": "help"}
SHORT = ("-v", "-h")
TOP = {
    "name": "the outputs' folders begin with it",
    "limit": "only the first N videos; 0: all",
    "dry_run": "print the plan and stop",
    "extend": "URI of a dataset: make a new version of it for the source as it is now",
    "retry_rejected": "build the shards that hold rejected videos once more",
    "repair": "build damaged shards again from the source, with the bytes they had",
}
OF_VERIFY = ("repair",)  # shown only by that command
OF_VIDEOS = ("limit", "dry_run", "extend", "retry_rejected")  # shown only by commands that read raw videos


@dataclass(frozen=True, slots=True)
class Command:
    """One word after `iaca`."""

    name: str
    summary: str
    sections: tuple[str, ...]  # of the configuration that its help shows; all of them are accepted
    shortcuts: Mapping[str, str] = dataclasses.field(default_factory=dict)  # e.g. --dataset for --train.dataset
    required: tuple[str, ...] = ()  # fields that must not be empty
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)  # fields that must exist, and the file in them
    made: tuple[str, ...] = ()  # fields that the command fills in by itself
    strict: bool = True  # whether inputs can turn out to be rejected
    positional: str = ""  # the shortcut that may stand without its name
    run_file: str = ""  # when no --config is given

    @property
    def reads_videos(self) -> bool:
        """Whether it preprocesses."""
        return "source" in self.sections

    def takes(self, name: str) -> bool:
        """Whether a field that stands in no section means something to this command."""
        if name in OF_VERIFY:
            return self.name == "verify"
        return self.reads_videos or name not in OF_VIDEOS


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for."""

    overrides: dict[str, Any]  # nested, in the form of a run file
    run_file: str
    flags: frozenset[str]  # of strict, verbose, help

    def config(self) -> Config:
        """Defaults < run file < command line."""
        return load(self.run_file or None, self.overrides)


def parse(command: Command, words: Sequence[str]) -> Request:
    """Read the words after the command's name.

    Raises:
        UsageError: an option is unknown (with the nearest known one), lacks its value or stands where none may.
    """
    options, queue = option_defaults(), deque(words)
    overrides: dict[str, Any] = {}
    run_file, flags, positional = command.run_file, set(), command.positional
    while queue:
        bare = not queue[0].startswith("-")
        name, value = _next_option(queue, command.name, positional)
        positional = "" if bare else positional
        if name in FLAGS and value is None:
            flags.add(FLAGS[name])
        elif name == "config":
            run_file = _value(name, value, queue)
        else:
            field, negated = _field(name, command, options)
            default = options[field]
            text = _truth(value, queue, negated) if isinstance(default, bool) else _value(name, value, queue)
            _set(overrides, field, None if default is None and text == "None" else text)
    return Request(overrides, run_file, frozenset(flags))


def option_defaults() -> dict[str, Any]:
    """Every field of the configuration by its dotted name, with its default."""
    fields: dict[str, Any] = {}
    for name in Config.model_fields:
        value = getattr(Config(), name)
        if dataclasses.is_dataclass(value):
            fields |= {f"{name}.{field.name}": getattr(value, field.name) for field in dataclasses.fields(value)}
        else:
            fields[name] = value
    return fields


def _next_option(queue: deque[str], command: str, positional: str) -> tuple[str, str | None]:
    word = queue.popleft()
    if word.startswith("--") or word in SHORT:
        name, equals, value = word.lstrip("-").partition("=")
        return name.replace("-", "_"), value if equals else None
    if positional and not word.startswith("-"):
        return positional, word
    raise UsageError(f"unexpected argument {word!r}; options start with -- (iaca {command} --help)")


def _field(name: str, command: Command, options: Mapping[str, Any]) -> tuple[str, bool]:
    field = command.shortcuts.get(name, name)
    if field in options:
        return field, False
    section, dot, last = field.rpartition(".")
    positive = f"{section}{dot}{last.removeprefix('no_')}"
    if last.startswith("no_") and isinstance(options.get(positive), bool):
        return positive, True
    close = difflib.get_close_matches(name, [*options, *command.shortcuts, "config", *FLAGS], n=1)
    hint = f"did you mean --{close[0]}?" if close else f"iaca {command.name} --help lists them"
    raise UsageError(f"unknown option --{name}; {hint}")


def _value(name: str, value: str | None, queue: deque[str]) -> str:
    if value is None and (not queue or queue[0].startswith("--")):
        raise UsageError(f"option --{name} needs a value")
    return queue.popleft() if value is None else value


def _truth(value: str | None, queue: deque[str], negated: bool) -> str | bool:
    if value is None and queue and queue[0].lower() in ("true", "false"):
        value = queue.popleft()
    if value is None:
        return not negated
    return str(value.lower() != "true") if negated else value.lower()


def _set(overrides: dict[str, Any], field: str, value: Any) -> None:
    section, dot, name = field.rpartition(".")
    (overrides.setdefault(section, {}) if dot else overrides)[name] = value


def print_help(command: Command) -> None:
    """Print the command's options with their defaults and what they mean."""
    import tyro

    form = dataclasses.make_dataclass(
        "Form",
        [(name, kind, dataclasses.field(default=default)) for name, kind, default in _form(command)],
        frozen=True,
    )
    tyro.cli(
        form,
        prog=f"iaca {command.name}",
        description=f"{command.summary} In names, dashes and underscores are the same.",
        args=["--help"],
        use_underscores=True,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def _form(command: Command) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default of what the help lists: the command's own options, then its share of the fields."""
    from tyro.conf import arg

    run_file = arg(metavar="FILE.toml", help="run file: what differs from the defaults")
    yield "config", Annotated[str, run_file], command.run_file
    if command.strict:
        yield "strict", Annotated[bool, arg(help="exit with 3 when inputs were rejected")], False
    yield "verbose", Annotated[bool, arg(aliases=["-v"], help="tracebacks, and the whole output of jobs")], False
    for name, field in command.shortcuts.items():
        yield name, Annotated[str, arg(metavar="URI", help=f"short for --{field}")], ""
    for name, info in Config.model_fields.items():
        if name in TOP and command.takes(name):
            yield name, Annotated[info.annotation, arg(help=TOP[name])], info.default
        elif name in command.sections:
            yield name, info.annotation, info.default
