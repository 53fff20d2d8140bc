"""Killed, interrupted and poisoned: a rerun loses nothing, doubles nothing, and ends with the same bytes."""

import json
import os
import signal
from pathlib import Path

import pytest

from pipeline.dataset.format import shards
from pipeline.dataset.format.dataset_info import read_videos
from tests.support.preprocessing import (
    alive,
    build_in_process,
    builder_of,
    config_of,
    plans_of,
    require_invariants,
    result_of,
    start_job,
    wait_for,
)


@pytest.mark.chaos
def test_a_killed_worker_loses_and_doubles_nothing(talkers, undisturbed, tmp_path):
    config = config_of(talkers, tmp_path / "root", cluster={"num_workers": 1})
    process = start_job(config, tmp_path)
    mark = wait_for(lambda: begun(tmp_path))
    victim = json.loads(mark.read_text())["pid"]
    os.kill(victim, signal.SIGKILL)
    name = mark.stem.rpartition("-")[0]
    sidecar = mark.parents[1] / "shards" / f"{name}.json"
    assert not sidecar.exists(), "the victim had finished its shard before it was killed"
    result = result_of(process, tmp_path)
    require_invariants(result.output_uri, undisturbed)
    assert json.loads(sidecar.read_text())["attempts"] == 2


@pytest.mark.chaos
def test_a_killed_driver_is_continued_by_a_rerun(talkers, undisturbed, tmp_path):
    config = config_of(talkers, tmp_path / "root", cluster={"num_workers": 1})
    process = start_job(config, tmp_path)
    done = wait_for(lambda: next(iter(sorted(tmp_path.glob("root/datasets/*/shards/*.json"))), None))
    mark = wait_for(lambda: begun(tmp_path, besides=done.stem))
    victim, name = json.loads(mark.read_text())["pid"], mark.stem.rpartition("-")[0]
    os.kill(victim, signal.SIGSTOP)  # a worker may outlive its driver by a second: this one must not finish
    assert not done.with_stem(name).exists(), "the victim had finished its shard before its driver was killed"
    family = descendants(process.pid)
    process.kill()
    os.kill(victim, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(alive(pid) for pid in family), timeout_s=30)
    assert not (done.parents[1] / "dataset.json").exists()
    before = done.with_suffix(".tar").stat().st_mtime_ns
    result = result_of(start_job(config, tmp_path), tmp_path)
    require_invariants(result.output_uri, undisturbed)
    assert done.with_suffix(".tar").stat().st_mtime_ns == before
    attempts = {path.stem: json.loads(path.read_text())["attempts"] for path in done.parent.glob("*.json")}
    assert (attempts[done.stem], attempts[name]) == (1, 2)


@pytest.mark.slow
@pytest.mark.chaos
def test_an_interrupted_job_leaves_no_process_and_reports_how_to_continue(talkers, tmp_path):
    process = start_job(config_of(talkers, tmp_path / "root", cluster={"num_workers": 1}), tmp_path)
    wait_for(lambda: begun(tmp_path))
    family = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    wait_for(lambda: not any(alive(pid) for pid in family), timeout_s=30)
    assert "are finished and kept; the same command continues" in (tmp_path / "output.txt").read_text()


def descendants(pid):
    """All processes below one, but for Ray's two agents, which find out by themselves within a minute."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if "Agent" not in (stat.parent / "cmdline").read_text():
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    below = {child for child, parent in parents.items() if parent == pid}
    return below | {grandchild for child in below for grandchild in descendants(child)}


def begun(folder, besides=""):
    """The mark of a shard that a worker has begun and not finished."""
    marks = sorted(folder.glob("root/datasets/*/attempts/*.json"))
    return next((mark for mark in marks if not besides or not mark.stem.startswith(besides)), None)


def test_finished_shards_are_kept_only_with_their_bytes(talkers, undisturbed, tmp_path):
    config = config_of(talkers, tmp_path)
    info = build_in_process(config)
    plans = plans_of(config)
    tar = tmp_path / "datasets/talk/shards" / f"{plans[0].name}.tar"
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    worker = builder_of(config, info.uri)
    for plan in plans:
        worker(plan)
    assert shards.sha256_of_file(tar) == undisturbed.shards[0].sha256 or plans[0].name != undisturbed.shards[0].name
    sidecars = {path.stem: json.loads(path.read_text()) for path in tar.parent.glob("*.json")}
    assert len(list((tmp_path / "datasets/talk/attempts").iterdir())) == 1
    assert {s.name: s.sha256 for s in undisturbed.shards} == {n: s["sha256"] for n, s in sidecars.items()}


@pytest.mark.slow
@pytest.mark.chaos
def test_a_video_that_crashes_workers_is_rejected_while_the_job_runs(talkers, tmp_path):
    config = config_of(talkers, tmp_path / "root", cluster={"num_workers": 1}, preprocess={"limit": 4})
    process, victims = start_job(config, tmp_path), set()
    while process.poll() is None:
        for mark in tmp_path.glob("root/datasets/*/attempts/*.json"):
            try:
                at = json.loads(mark.read_text())
            except FileNotFoundError:
                continue
            if at["span"] == "person00_clip0@0" and at["pid"] not in victims:
                victims.add(at["pid"])
                os.kill(at["pid"], signal.SIGKILL)
    rows = {row.video_id: row for row in read_videos(result_of(process, tmp_path).output_uri)}
    assert len(victims) == 2
    assert {name: (row.status, row.reason) for name, row in rows.items()} == {
        "blank": ("rejected", "no_face"),
        "broken": ("rejected", "unreadable"),
        "person00_clip0": ("rejected", "worker_crash"),
        "person00_clip1": ("ok", ""),
    }
