"""The measurements of a run over its steps, as JSON lines and for TensorBoard."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline import storage

METRICS = "metrics.jsonl"
Row = dict[str, Any]  # `step`, and numbers by name


def read_rows(run_uri: str) -> list[Row]:
    """Every row that was published; none for a new run."""
    try:
        return [json.loads(line) for line in storage.read_text(storage.join(run_uri, METRICS)).splitlines()]
    except FileNotFoundError:
        return []


class History:
    """The rows of a run, written by its first rank; a resumed run drops the rows after the step it resumes from.

    Both files are published whole, before the checkpoint of the same step, so that they never lag behind it.
    """

    def __init__(self, run_uri: str, resumed_step: int) -> None:
        self._run_uri = run_uri
        self._rows: list[Row] = []
        from torch.utils.tensorboard import SummaryWriter  # seconds to import, and only the first rank writes

        self._folder = tempfile.TemporaryDirectory(prefix="iaca-events-")
        self._events = SummaryWriter(self._folder.name)
        for row in read_rows(run_uri):
            if row["step"] <= resumed_step:
                self.add(row)

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.close()
        self._folder.cleanup()

    def add(self, row: Row) -> None:
        """Append one row; all its numbers but the step and the epoch become TensorBoard curves."""
        self._rows.append(row)
        for name, value in row.items():
            if name not in ("step", "epoch") and isinstance(value, int | float):
                self._events.add_scalar(name, value, row["step"])

    def publish(self) -> None:
        """Write both files with all rows so far."""
        lines = "".join(json.dumps(row) + "\n" for row in self._rows)
        storage.publish_bytes(lines.encode(), storage.join(self._run_uri, METRICS))
        self._events.flush()
        for path in Path(self._folder.name).iterdir():
            storage.publish(path, storage.join(self._run_uri, "tensorboard", "events.out.tfevents.train"))
