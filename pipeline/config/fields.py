"""What is declared at a setting's field: its bounds, its description and, for a URI, what lies there."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict

DATASET_MARKER, RUN_MARKER = "dataset.json", "run.json"  # written last: what has it is complete
KNOWN_KEYS_ONLY = ConfigDict(extra="forbid", allow_inf_nan=False)  # of every section

Count = Annotated[int, Ge(1)]
NotNegativeInt = Annotated[int, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]

Stage = Literal["synthesize", "preprocess", "train", "evaluate", "extract", "ablate", "verify", "repair", "fetch_model"]
"""The parts of commands: each is a job, except repair, which is what the verify job does with `verify.repair`."""


@dataclass(frozen=True, slots=True)
class Uri:
    """Declares that a setting is a URI, once for everything that treats URIs in a way of their own.

    They are made absolute before a job starts, must exist where a stage reads them, must be visible to every node of
    a cluster, and are no part of fingerprints: content counts, not where it lies.
    """

    kind: Literal["source", "artifact", "root"]
    """An input of the source ([source] shared covers it), something made by this or another training ([storage] shared
    covers it), or the folder of all outputs."""
    required_by: tuple[Stage, ...] = ()  # stages that cannot do without it
    read_by: tuple[Stage, ...] = ()  # other stages that read it where it is given
    made_by: Stage | None = None  # a command that runs this stage before a reading one fills it in, and refuses a value
    marker: str = ""  # the file in it that is written last, without which it is unfinished


_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of the configuration, as the help and the documentation show it."""

    name: str  # with its section, e.g. media.crop_px
    type: Any  # without annotations
    default: Any
    description: str
    bounds: str  # e.g. "16 to 512"; empty: any value of the type
    uri: Uri | None

    @property
    def section(self) -> str:
        """The section's name; empty for a field that stands in none."""
        return self.name.rpartition(".")[0]

    @property
    def field(self) -> str:
        """The name without the section."""
        return self.name.rpartition(".")[2]

    @property
    def values(self) -> str:
        """What may be given, e.g. `int`, `haar, yunet` or `float or none`."""
        return " or ".join(_values(kind) for kind in _alternatives(self.type))

    @property
    def allowed(self) -> str:
        """What may be given, in words, e.g. "a whole number, at least 1" or "haar, yunet"."""
        kinds = [_KINDS.get(kind) or _values(kind) for kind in _alternatives(self.type)]
        return ", ".join([" or ".join(kinds), *filter(None, [self.bounds])])


def settings_of(section: type[Any], name: str = "") -> Iterator[Setting]:
    """The fields of a section, a frozen dataclass whose fields all have defaults, in their order.

    Args:
        section: its class. A plain string in a field's `Annotated` is the description.
        name: what stands before the dot in the settings' names.
    """
    hints = get_type_hints(section, include_extras=True)
    for field in dataclasses.fields(section):
        yield setting_of(f"{name}.{field.name}" if name else field.name, hints[field.name], field.default)


def setting_of(name: str, annotation: Any, default: Any) -> Setting:
    """A setting from its field's annotation and default."""
    metadata = _metadata(annotation)
    return Setting(
        name=name,
        type=_plain(annotation),
        default=default,
        description=next((entry for entry in metadata if isinstance(entry, str)), ""),
        bounds=_bounds_text(metadata),
        uri=next((entry for entry in metadata if isinstance(entry, Uri)), None),
    )


def _metadata(annotation: Any) -> list[Any]:
    """What `Annotated` holds beside the type, also that of a union's members."""
    if get_origin(annotation) is Annotated:
        kind, *metadata = get_args(annotation)
        return [*metadata, *_metadata(kind)]
    if get_origin(annotation) in (Union, types.UnionType):
        return [entry for member in get_args(annotation) for entry in _metadata(member)]
    return []


def _plain(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return Union[tuple(_plain(member) for member in get_args(annotation))]  # noqa: UP007
    return annotation


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _values(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(str(choice) for choice in get_args(kind))
    return "none" if kind is type(None) else kind.__name__


def _bounds_text(metadata: list[Any]) -> str:
    """The allowed range in words: "16 to 512", "above 0, up to 240", "at least 1", "above 0"."""
    least = next((entry.ge for entry in metadata if isinstance(entry, Ge)), None)
    above = next((entry.gt for entry in metadata if isinstance(entry, Gt)), None)
    most = next((entry.le for entry in metadata if isinstance(entry, Le)), None)
    if least is not None:
        return f"at least {least}" if most is None else f"{least} to {most}"
    if above is not None:
        return f"above {above}" if most is None else f"above {above}, up to {most}"
    return "" if most is None else f"up to {most}"
