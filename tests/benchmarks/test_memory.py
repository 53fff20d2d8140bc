"""Memory of a worker against the length of the video."""

import pytest

from tests.benchmarks.measure import PeakMemory, Worker, plans_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
WIDTH_PX, HEIGHT_PX = 320, 240
TOLERANCE = 0.10


def test_memory_does_not_grow_with_the_video(draw, looped, config_of, minutes, table, tmp_path):
    durations_s = (60, 600, 2 * minutes * 60)
    clip, peaks = draw(WIDTH_PX, HEIGHT_PX, 25), {}
    for duration_s in durations_s:
        folder = tmp_path / str(duration_s)
        looped(clip, folder / "in/talk.mp4", duration_s)
        config = config_of(folder / "in", folder / "out", faces={"detect_every": 25})
        plans = plans_of(config)
        with Worker(config, str(folder / "out/d"), plans, folder / "work") as worker:
            with PeakMemory(worker.process.pid) as memory:
                worker.build()
            peaks[duration_s] = memory
    first = peaks[durations_s[0]].mb
    for duration_s, peak in peaks.items():
        what = f"peak memory of a worker, {WIDTH_PX}x{HEIGHT_PX}, {duration_s / 60:g} min"
        budget = f"{1 - TOLERANCE:.2f} to {1 + TOLERANCE:.2f}" if duration_s != durations_s[0] else ""
        measured = f"{peak.mb:.0f} MB, {peak.children:.0f} of it ffmpeg"
        table.add(what, measured, "one minute", peak.mb / first, budget)
    assert all(abs(peak.mb / first - 1) <= TOLERANCE for peak in peaks.values())
