"""What a job reports to its caller: progress lines on its output and a result file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

PREFIX = "@progress "
NOTICE_PREFIX = "@notice "


@dataclass(frozen=True, slots=True)
class Progress:
    """One step forward of a stage, e.g. 3 of 12 shards."""

    stage: str
    done: int
    total: int
    unit: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job leaves in `result.json` beside its configuration."""

    kind: str  # synthesize, preprocess, train, evaluate, extract, ablate, verify
    output_uri: str
    skipped: bool  # True when a finished output was found and nothing was computed
    seconds: float
    counts: dict[str, float] = field(default_factory=dict)  # e.g. videos, rejected, shards, ccc_mean
    lines: tuple[str, ...] = ()  # sentences for people, printed below its counts in the closing summary
    warnings: tuple[str, ...] = ()  # what to look at, printed there too, also where nothing was computed


def emit(progress: Progress) -> None:
    """Print `progress` as one line that `parse` reads back."""
    print(PREFIX + json.dumps(asdict(progress)), flush=True)


def parse(line: str) -> Progress | None:
    """The Progress in a line of a job's output, or None when the line is ordinary output (a garbled one is, too)."""
    if not line.startswith(PREFIX):
        return None
    try:
        return Progress(**json.loads(line.removeprefix(PREFIX)))
    except (ValueError, TypeError):
        return None


def emit_notices(notices: Iterable[str]) -> None:
    """Print warnings that people should read at once, not only in the closing summary; `parse_notice` reads them."""
    for notice in notices:
        print(NOTICE_PREFIX + notice, flush=True)


def parse_notice(line: str) -> str:
    """The sentence in a line of a job's output; "" when the line is another."""
    return line.removeprefix(NOTICE_PREFIX) if line.startswith(NOTICE_PREFIX) else ""


def warning_text(warning: str) -> str:
    """A warning as people see it, at once and in the closing summary."""
    return f"warning: {warning}"


def result_to_json(result: JobResult) -> bytes:
    """The content of `result.json`; what is not Unicode in the name of a file is escaped."""
    texts = {name: [_as_unicode(line) for line in getattr(result, name)] for name in ("lines", "warnings")}
    return json.dumps(asdict(result) | texts, indent=2).encode()


def result_from_json(data: bytes) -> JobResult:
    """Inverse of `result_to_json`."""
    values = json.loads(data)
    return JobResult(**{**values, "lines": tuple(values["lines"]), "warnings": tuple(values.get("warnings", ()))})


def _as_unicode(line: str) -> str:
    return line.encode("utf-8", "backslashreplace").decode()
