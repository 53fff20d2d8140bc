"""The demo: the whole experiment on synthetic talkers, then an evaluation without sound and one without pictures."""

from __future__ import annotations

from flows import stage_order
from pipeline.config import Config
from pipeline.runtime.progress import JobResult


def demo(config: Config) -> list[JobResult]:
    """Synthesize, run the experiment, and evaluate twice more; what is already complete is skipped."""
    return stage_order.demo(config, stage_order.run_flow)
