"""A worker or the driver killed at random moments: nothing lost, nothing twice, the same bytes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.format.dataset_info import read_dataset, read_index, read_videos
from pipeline.jobs import verify
from pipeline.jobs.workers.shard_builder import ShardBuilder, find_toolchain
from pipeline.runtime.progress import result_from_json
from tests.benchmarks.measure import ROOT, plans_of
from tests.support.talkers import synthesize

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(3600)]
SEED = 0
SETTINGS = {
    "media": {"crop_px": 64},
    "segments": {"num_frames": 64, "num_preroll": 15},
    "sequence": {"num_subclips": 4, "subclip_frames": 16, "subclip_dilation": 4, "subclip_stride": 16},
    "shards": {"max_videos": 2},
    "cluster": {"num_workers": 2},
}


@pytest.fixture(scope="module")
def talkers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talkers")
    synthesize(folder, num_identities=6, clips_per_identity=2, duration_s=6.0, width_px=320, height_px=240)
    (folder / "videos/broken.mp4").write_bytes(b"this is no video" * 100)
    return folder / "videos"


@pytest.fixture(scope="module")
def undisturbed(talkers, config_of, tmp_path_factory):
    """The dataset that every killed build must equal, made in this process."""
    root = tmp_path_factory.mktemp("undisturbed")
    config = config_of(talkers, root, **SETTINGS)
    toolchain = find_toolchain(config)
    builder = ShardBuilder(config, str(root / "d"), toolchain)
    return commit_dataset(str(root / "d"), config, [builder.build(p) for p in plans_of(config)], toolchain)


def start(config, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.to_json())
    command = [sys.executable, "-m", "pipeline.jobs.preprocess", str(folder / "config.json")]
    with (folder / "output.txt").open("a") as output:
        return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)


def finish(process, folder):
    assert process.wait(timeout=600) == 0, (folder / "output.txt").read_text()
    return result_from_json((folder / "result.json").read_bytes()).output_uri


def working(root):
    """Process ids of the workers that have begun a shard and not finished it."""
    marks = sorted(Path(root).glob("datasets/*/attempts/*.json"))
    open_marks = (m for m in marks if not (m.parents[1] / f"shards/{m.stem.rpartition('-')[0]}.json").exists())
    try:
        return [json.loads(mark.read_text())["pid"] for mark in open_marks]
    except (FileNotFoundError, json.JSONDecodeError):  # the dataset was committed meanwhile
        return []


def wait_for(process, root, num_done, delay_s):
    """Until so many shards are finished, and a moment longer; False when the job is over before."""
    while len(list(Path(root).glob("datasets/*/shards/*.json"))) < num_done:
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    time.sleep(delay_s)
    return process.poll() is None


def kill_worker(process, root, num_done, delay_s):
    """What was hit, in words."""
    while not working(root) and process.poll() is None:
        time.sleep(0.005)
    victims = working(root) if wait_for(process, root, num_done, delay_s) else []
    if not victims:
        return "nobody at work"
    os.kill(victims[0], signal.SIGKILL)
    return "worker"


def kill_driver(process, root, num_done, delay_s):
    """What was hit, in words."""
    if not wait_for(process, root, num_done, delay_s):
        return "nobody at work"
    process.kill()
    process.wait()
    return f"driver, {'workers at work' if working(root) else 'workers between shards'}"


def require_same(uri, undisturbed, config):
    info, rows = read_dataset(uri), read_index(uri)
    assert info.digest == undisturbed.digest
    assert {row.key for row in rows} == {row.key for row in read_index(undisturbed.uri)}
    assert len({row.key for row in rows}) == len(rows) == info.counts["samples"]
    assert [row.uri for row in read_videos(uri)] == [row.uri for row in read_videos(undisturbed.uri)]
    assert info.counts == undisturbed.counts
    verify.run(config.model_copy(update={"verify": replace(config.verify, dataset=uri)}))


def test_killed_at_random_moments(request, talkers, undisturbed, config_of, table, tmp_path):
    num_kills = request.config.getoption("kills", 20)
    config = config_of(talkers, tmp_path / "calm", **SETTINGS)
    require_same(finish(start(config, tmp_path / "calm"), tmp_path / "calm"), undisturbed, config)
    chance, hits = random.Random(SEED), Counter()
    for number in range(num_kills):
        folder = tmp_path / str(number)
        config = config_of(talkers, folder / "root", **SETTINGS)
        process, num_done = start(config, folder), chance.randrange(len(undisturbed.shards))
        if number % 2:
            hits[kill_worker(process, config.storage.root, num_done, chance.uniform(0, 0.3))] += 1
        else:
            hits[kill_driver(process, config.storage.root, num_done, chance.uniform(0, 1))] += 1
            process = start(config, folder)
        require_same(finish(process, folder), undisturbed, config)
    reported = ", ".join(f"{number} x {what}" for what, number in sorted(hits.items()))
    table.add(
        f"killed at {num_kills} random moments", reported, "undisturbed build", budget="0 lost, 0 twice, same digest"
    )
    assert hits["nobody at work"] <= num_kills // 2
