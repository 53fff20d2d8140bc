"""The grammar of the command line: tyro reads any setting as `--section.field value`, on top of a run file.

tyro gets the settings as TypedDicts, so that it returns what was given and nothing else: `load` puts that on top of the
run file, which may be incomplete without it, and checks all values in one place, with the same messages for both.

Three things are done here, because tyro does them differently: `--flag true` is accepted beside `--flag` and
`--no-flag`; an error is one line, which proposes the nearest known option for an unknown one; and an argument may stand
with or without its name (tyro takes an unknown option for a positional argument that is missing).
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, get_origin

import tyro
from tyro.conf import Positional, arg
from tyro.constructors import PrimitiveConstructorSpec

from flows.cli.commands import COMMANDS, Command
from pipeline.config import Config, UsageError, load
from pipeline.config.fields import Setting
from pipeline.config.settings import all_settings, section_descriptions
from pipeline.config.suggestions import did_you_mean, question, reason_for_none, settings_meant_by
from pipeline.config.uris import uri_settings

RUN_FILE = Annotated[
    str,
    arg(
        metavar="NAME|FILE.toml",
        help="run file: what differs from the defaults; by name one that comes with the program",
        help_behavior_hint="",
    ),
]
STRICT = Annotated[bool, arg(help="exit with 3 when inputs were rejected", help_behavior_hint="")]
VERBOSE = Annotated[bool, arg(aliases=["-v"], help="tracebacks, and the whole output of jobs", help_behavior_hint="")]
OWN_FLAGS = ("strict", "verbose")
COMMON_SHORTCUTS = {
    name: setting
    for command in COMMANDS.values()
    for name, setting in command.shortcuts.items()
    if name not in ("dataset", "run", "model_name", "uri")  # whose setting depends on the command
}


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for."""

    config: Config
    strict: bool
    verbose: bool
    options: Mapping[str, str]  # the values on the command line, by their settings' full names, and `config`


def parse(command: Command, arguments: Sequence[str]) -> Request:
    """Read the arguments after the command's name: defaults < run file < command line.

    Raises:
        UsageError: an option is unknown, lacks its value or stands where none may, or the configuration is not allowed.
    """
    shortcuts = {**COMMON_SHORTCUTS, **command.shortcuts}
    options = {"config": RUN_FILE, "strict": STRICT, "verbose": VERBOSE, **_shortcut_options(shortcuts)}
    form = TypedDict("form", {**options, **_section_options(Config.model_fields)}, total=False)  # type: ignore[misc]
    flags = _flags(shortcuts)
    _check_values_of_flags(arguments, flags, command)
    values, unknown = _read(form, f"iaca {command.name}", _with_joined_values(arguments, flags))
    if command.positional and unknown and not unknown[0].startswith("-"):
        if command.positional in values:
            raise UsageError(f"{unknown[0]!r} and --{command.positional} are the same setting; give one of them")
        values[command.positional] = unknown.pop(0)
    if unknown:
        raise UsageError(_unknown_message(unknown[0], command, shortcuts))
    overrides = {name: values[name] for name in Config.model_fields if values.get(name, {}) != {}}
    for name in shortcuts.keys() & values.keys():
        section, _, field = shortcuts[name].partition(".")
        if field in overrides.setdefault(section, {}):
            raise UsageError(f"--{name} and --{shortcuts[name]} are the same setting; give one of them")
        overrides[section][field] = values[name]
    config = load(values.get("config", command.run_file) or None, overrides)
    return Request(config, values.get("strict", False), values.get("verbose", False), _options_of(values, overrides))


def _options_of(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, str]:
    """What was given on the command line, as words that would give it again."""
    options = {"config": values["config"]} if values.get("config") else {}
    for name, value in overrides.items():
        of_section = value.items() if isinstance(value, Mapping) else ()
        settings = {f"{name}.{field}": each for field, each in of_section} or {name: value}
        options |= {
            setting: str(each).lower() if isinstance(each, bool | None) else str(each)
            for setting, each in settings.items()
        }
    return options


def print_help(command: Command) -> None:
    """Print the command's options with their defaults, bounds and meanings."""
    if not command.takes_settings:
        print(f"iaca {command.name}: {command.summary}")
        return
    options: dict[str, Any] = {"config": RUN_FILE}
    if command.can_reject:
        options["strict"] = STRICT
    options |= {"verbose": VERBOSE, **_shortcut_options(command.shortcuts)}
    if command.positional:
        metavar = _metavar(all_settings()[command.shortcuts[command.positional]])
        description = arg(metavar=metavar, help=f"the same as --{command.positional}", help_behavior_hint="")
        options["argument"] = Annotated[str, Positional, description]
    sections = [name for name in Config.model_fields if name == "name" or name in command.sections]
    form = TypedDict("form", {**options, **_section_options(sections)}, total=False)  # type: ignore[misc]
    tyro.cli(
        form,
        prog=f"iaca {command.name}",
        description=f"{command.summary} In names, dashes and underscores are the same.",
        args=["--help"],
        use_underscores=True,
    )


def _read(form: Any, prog: str, arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """What tyro reads, nested like a run file, and the arguments that it does not know."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                form, prog=prog, args=arguments, use_underscores=True, add_help=False, return_unknown_args=True
            )
    except SystemExit as error:
        raise UsageError(_one_line(errors.getvalue())) from error


def _one_line(box: str) -> str:
    """The message of an error that tyro has drawn a box around: what stands between its title and its first rule."""
    lines = [line.strip("│ ") for line in box.splitlines() if line.startswith("│")]
    rule = next((number for number, line in enumerate(lines) if set(line) == {"─"}), len(lines))
    message = " ".join(lines[:rule])
    without_value = re.match(r"Missing value for argument '(.+?)'", message)
    return f"{without_value[1]} needs a value after it" if without_value else message


def _check_values_of_flags(arguments: Sequence[str], flags: Collection[str], command: Command) -> None:
    """Raise UsageError for a word after a flag that is neither true nor false, nor the command's input."""
    for option, value in itertools.pairwise(arguments):
        is_flag = option.startswith("--") and "=" not in option and _flag(option, flags)[0] in flags
        is_input = bool(command.positional) and value.lower() not in ("yes", "no", "on", "off", "1", "0")
        if is_flag and not (value.startswith("-") or value.lower() in ("true", "false") or is_input):
            raise UsageError(f"{option} is {value!r}; allowed: true, false, or no value at all")


def _section_options(names: Iterable[str]) -> dict[str, Any]:
    """The settings of these sections (or fields that stand in none) as tyro's options, nested like a run file."""
    fields: dict[str, Any] = {name: {} for name in names}
    for setting in all_settings().values():
        if setting.section in fields:
            fields[setting.section][setting.field] = _option(setting)
        elif setting.name in fields:
            fields[setting.name] = _option(setting)
    return {name: _section(name, of) if isinstance(of, dict) else of for name, of in fields.items()}


def _section(name: str, fields: dict[str, Any]) -> Any:
    section = TypedDict(name, fields, total=False)  # type: ignore[misc]
    # With a help given, tyro does not look for one in our source, which would take .2 s.
    return Annotated[section, arg(help=section_descriptions()[name])]


def _shortcut_options(shortcuts: Mapping[str, str]) -> dict[str, Any]:
    return {name: _option(all_settings()[target], f"short for --{target}: ") for name, target in shortcuts.items()}


def _option(setting: Setting, prefix: str = "") -> Any:
    """A setting as tyro's option: a flag, or text that the configuration checks as it checks a run file's values."""
    default = "none" if setting.default in (None, "") else setting.default
    hint = f"({setting.bounds}; default: {default})" if setting.bounds else f"(default: {default})"
    description = arg(help=prefix + setting.description, help_behavior_hint=hint)
    if setting.type is bool:
        return Annotated[bool, description]
    text = PrimitiveConstructorSpec(
        nargs=1,
        metavar=_metavar(setting),
        instance_from_str=lambda texts: None if (setting.default, texts[0].lower()) == (None, "none") else texts[0],
        is_instance=lambda _: True,
        str_from_instance=lambda value: [str(value)],
    )
    return Annotated[str, text, description]


def _metavar(setting: Setting) -> str:
    if setting.uri:
        return "URI"
    if get_origin(setting.type) is Literal:
        return f"{{{setting.values.replace(', ', ',')}}}"
    return setting.values.replace(" or ", "|").upper()


def _flags(shortcuts: Mapping[str, str]) -> set[str]:
    """The names of all options that are true or false."""
    settings = {name: setting.name for name, setting in all_settings().items()} | dict(shortcuts)
    return {*OWN_FLAGS, *(name for name, target in settings.items() if all_settings()[target].type is bool)}


def _with_joined_values(arguments: Sequence[str], flags: Collection[str]) -> list[str]:
    """The arguments with each option and its value as one, and flags as tyro's `--flag` or `--no-flag`.

    A value may then be anything but a long option: negative numbers, names with a leading dash, the name of a flag.
    """
    queue, result = deque(arguments), []
    while queue:
        argument = queue.popleft()
        option, equals, value = argument.partition("=")
        if not argument.startswith("--"):
            result.append(argument)
            continue
        name, is_negated = _flag(option, flags)
        if name in flags:
            if not equals:
                value = queue.popleft() if queue and queue[0].lower() in ("true", "false") else "true"
            result.append(_tyro_flag(option, name, value, is_negated))
        elif not equals and queue and not queue[0].startswith("--"):
            result.append(f"{option}={queue.popleft()}")
        else:
            result.append(argument)
    return result


def _tyro_flag(option: str, name: str, value: str, is_negated: bool) -> str:
    if value.lower() not in ("true", "false"):
        raise UsageError(f"{option} is {value!r}; allowed: true, false, or no value at all")
    section, dot, field = name.rpartition(".")
    is_true = (value.lower() == "true") != is_negated
    return f"--{section}{dot}{'' if is_true else 'no_'}{field}"


def _flag(option: str, flags: Collection[str]) -> tuple[str, bool]:
    """The name that an option stands for, and whether it is the negation of that flag."""
    name = option.removeprefix("--").replace("-", "_")
    section, dot, field = name.rpartition(".")
    positive = f"{section}{dot}{field.removeprefix('no_')}"
    return (positive, True) if positive in flags and positive != name else (name, False)


def _unknown_message(argument: str, command: Command, shortcuts: Collection[str]) -> str:
    if not argument.startswith("--"):
        return _unexpected_message(argument, command)
    name = argument.removeprefix("--").partition("=")[0].replace("-", "_")
    short = did_you_mean(name, [*shortcuts, *OWN_FLAGS, "config", "help"])
    meant = [short] if short else [command.option(setting) for setting in _settings_meant_by(name, command)]
    section = name.partition(".")[0]
    fields = [setting.name for setting in all_settings().values() if setting.section == section]
    if meant:
        hint = question([f"--{option}" for option in meant])
    elif reason := reason_for_none(name):
        hint = reason
    elif fields:
        hint = f"there are {', '.join(f'--{field}' for field in fields)}"
    else:
        hint = f"iaca {command.name} --help lists them"
    return f"unknown option --{name}; {hint}"


def _settings_meant_by(name: str, command: Command) -> list[str]:
    """The settings that an unknown option may stand for, without those that the command fills in itself."""
    section, dot, field = name.rpartition(".")
    positive = f"{section}{dot}{field.removeprefix('no_')}"
    meant = settings_meant_by(name, command.sections) or settings_meant_by(positive, command.sections)
    inputs = [setting for setting in meant if setting in _inputs_of(command)]
    uris = uri_settings()
    return inputs or [one for one in meant if one not in uris or uris[one].made_by not in command.stages]


def _inputs_of(command: Command) -> list[str]:
    """The URIs that the command cannot do without, besides those that it fills in itself."""
    return [
        name
        for name, uri in uri_settings().items()
        if {*uri.required_by} & {*command.stages} and uri.made_by not in command.stages
    ]


def _unexpected_message(argument: str, command: Command) -> str:
    """The message about a word that belongs to no option: perhaps it is the input, whose option is missing."""
    if argument.startswith("-") and (option := did_you_mean(argument[1:].replace("-", "_"), command.shortcuts)):
        return f"unexpected argument {argument!r}; did you mean --{option}?"
    inputs = _inputs_of(command)
    if argument.startswith("-") or len(inputs) != 1 or not command.flow:
        return f"unexpected argument {argument!r}; options start with -- (iaca {command.name} --help)"
    return f"unexpected argument {argument!r}; did you mean --{command.option(inputs[0])} {argument}?"
