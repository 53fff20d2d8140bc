"""A decoder that crashes, hangs or eats memory over one video: that video is a row, its neighbours are untouched."""

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.dataset.format import shards
from pipeline.media.ffmpeg_command import find_ffmpeg
from tests.support.preprocessing import builder_of, config_of, plans_of

SICK = "person00_clip0"
FAULTS = {
    "segfault": "kill -SEGV $$",
    "hang": '(exec -a "$0 asleep" sleep 600)',
    "memory": f"exec {sys.executable} -c 'bytearray(8 << 30)'",
    "half": f'"{find_ffmpeg()}" "$@" | head -c 20000; exit 1',
}
EXPECTED = {
    "segfault": ("undecodable", "0 of 50 frames could be decoded, ffmpeg ended with -11"),
    "hang": ("timeout", "not decoded within 5 s"),
    "memory": ("undecodable", "MemoryError"),
    "half": ("undecodable", "of 50 frames could be decoded, ffmpeg ended with 1"),
}


class FakeDecoder:
    """ffmpeg, but for one video whose decoding ends otherwise; the processes it starts bear a name of its own."""

    def __init__(self, folder: Path, fault: str) -> None:
        self.path = folder / "ffmpeg"
        self.path.write_text(f'#!/bin/bash\ncase "$*" in *{SICK}*) {fault};; *) exec "{find_ffmpeg()}" "$@";; esac\n')
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)

    def running(self) -> list[str]:
        found = subprocess.run(["pgrep", "-f", str(self.path)], capture_output=True, text=True).stdout.split()
        return [pid for pid in found if int(pid) != os.getpid()]


@pytest.mark.chaos
@pytest.mark.parametrize("fault", FAULTS)
def test_a_sick_decoder_costs_its_video_alone(talkers, tmp_path, fault):
    config = config_of(talkers, tmp_path, media={"crop_px": 48, "timeout_s": 5.0})
    (plan,) = plans_of(config, SICK, "person00_clip1")
    calm = builder_of(config, str(tmp_path / "calm")).build(plan)
    worker = builder_of(config, str(tmp_path / "d"))
    decoder = FakeDecoder(tmp_path, FAULTS[fault])
    worker.tools = replace(worker.tools, ffmpeg=str(decoder.path))
    record = worker.build(plan)
    sick, healthy = record.videos
    reason, detail = EXPECTED[fault]
    assert (sick.video_id, sick.status, sick.stage, sick.reason) == (SICK, "rejected", "decode", reason)
    assert detail in sick.detail
    assert "\n" not in sick.detail
    assert healthy.status == "ok"
    assert neighbours(tmp_path / "d", record) == neighbours(tmp_path / "calm", calm)
    assert decoder.running() == []


def neighbours(folder, record):
    """The bytes of all samples that are not of the sick video."""
    tar = shards.shard_uri(str(folder), record.name)
    return {row.key: storage.read_bytes(tar, row.offset, row.size) for row in record.samples if row.video_id != SICK}
