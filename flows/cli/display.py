"""The display of a running job: bars on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from pipeline.runtime.environment import is_verbose
from pipeline.runtime.progress import Progress

LINE_INTERVAL_S = 10.0


class Screen(Protocol):
    """Where a job's progress and other output go."""

    def show_progress(self, progress: Progress) -> None:
        """Show one step forward."""

    def show_notice(self, notice: str) -> None:
        """Show a sentence that people should read, whether verbose or not."""

    def show_line(self, line: str) -> None:
        """Show one line of ordinary output."""


@contextmanager
def follow(log: Callable[[str], None] | None = None) -> Iterator[Screen]:
    """A screen for one job: bars on a terminal, a line every ten seconds otherwise; `log` gets these lines too."""
    console = Console()
    log_lines = ThrottledProgress(log or (lambda _: None))
    if console.is_terminal:
        with Bars(
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[message]}"),
            console=console,
        ) as bars:
            yield BarScreen(bars, log_lines)
    else:
        yield PlainScreen(ThrottledProgress(_print), log_lines)


class ThrottledProgress:
    """Turns a stream of progress into few lines: the first and last of a stage, and one every ten seconds."""

    def __init__(self, write: Callable[[str], None], every_s: float = LINE_INTERVAL_S) -> None:
        self.write, self.every_s = write, every_s
        self.stage, self.last_s = "", float("-inf")

    def __call__(self, progress: Progress) -> None:
        """Write this step when it is time."""
        now_s = time.monotonic()
        due = progress.stage != self.stage or progress.done >= progress.total or now_s - self.last_s >= self.every_s
        if due:
            self.stage, self.last_s = progress.stage, now_s
            message = f"  {progress.message}" if progress.message else ""
            self.write(f"{progress.stage}: {progress.done}/{progress.total} {progress.unit}{message}")


class BarScreen:
    """A bar per stage on a terminal."""

    def __init__(self, bars: Bars, log_lines: ThrottledProgress) -> None:
        self.bars, self.log_lines = bars, log_lines
        self.tasks: dict[str, TaskID] = {}

    def show_progress(self, progress: Progress) -> None:
        """Move the stage's bar."""
        self.log_lines(progress)
        if progress.stage not in self.tasks:
            self.tasks[progress.stage] = self.bars.add_task(progress.stage, total=None, unit="", message="")
        self.bars.update(
            self.tasks[progress.stage],
            completed=progress.done,
            total=progress.total,
            unit=progress.unit,
            message=progress.message,
        )

    def show_notice(self, notice: str) -> None:
        """Print it above the bars."""
        self.log_lines.write(notice)
        self.bars.console.print(notice, markup=False, highlight=False, soft_wrap=True)

    def show_line(self, line: str) -> None:
        """Print above the bars when verbose."""
        if is_verbose():
            self.bars.console.print(line, markup=False, highlight=False)


class PlainScreen:
    """Lines for a log file."""

    def __init__(self, *outputs: ThrottledProgress) -> None:
        self.outputs = outputs

    def show_progress(self, progress: Progress) -> None:
        """Write it when it is time."""
        for write_throttled in self.outputs:
            write_throttled(progress)

    def show_notice(self, notice: str) -> None:
        """Write it at once."""
        for output in self.outputs:
            output.write(notice)

    def show_line(self, line: str) -> None:
        """Print when verbose."""
        if is_verbose():
            _print(line)


def _print(line: str) -> None:
    print(line, flush=True)
