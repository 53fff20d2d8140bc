"""How fast videos become shards: against decoding alone, against the naive script, on two cores, and under Ray."""

import json
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from pipeline import storage
from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.format import shards
from pipeline.dataset.format.dataset_info import DatasetInfo, read_dataset
from pipeline.jobs.workers.shard_builder import find_toolchain
from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.runtime.progress import result_from_json
from tests.benchmarks.measure import ROOT, FirstShard, PeakMemory, Timing, Worker, pin, plans_of, timed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
NUM_ROUNDS = 3
VIDEO_S, NAIVE_S = 60, 5  # the naive script's time grows with every frame: a shorter clip says the same
NUM_PARTS = 12  # files of the long benchmark
REAL_CLIP = ROOT / "../shared/clips/01_pyfeat_wolfgang_640x360.mp4"


@dataclass(frozen=True)
class Round:
    """Everything once, right after one another; per second of video."""

    null: Timing
    naive: Timing
    one: Timing
    two: Timing  # of twice as much video


def decode_to_null(video, core):
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-threads", "1", "-i", video, "-map", "0:v:0"]
    return timed([*command, "-f", "null", "-"], core)


def naive(video, folder, model, core):
    command = [sys.executable, "-m", "tests.benchmarks.naive", video, folder, *filter(None, [model])]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=pin(core))
    return Timing(**json.loads(done.stdout))


def both(first, second):
    first.begin()
    second.begin()
    ends = first.end(), second.end()
    return Timing(max(end.wall_s for end in ends), sum(end.cpu_s for end in ends))


def race(clip, folder, config_of, looped, model, cores, num_rounds=NUM_ROUNDS):
    """Rounds of all contenders in turn, and the peak memory of one worker."""
    video, short = looped(clip, folder / "in/a.mp4", VIDEO_S), looped(clip, folder / "short.mp4", NAIVE_S)
    config = config_of(video.parent, folder / "out")
    plans = plans_of(config)

    def once(number):
        return Round(
            null=decode_to_null(video, cores[0]).per(VIDEO_S),
            naive=naive(short, folder / f"naive{number}", model, cores[0]).per(NAIVE_S),
            one=first.build().per(VIDEO_S),
            two=both(first, second).per(2 * VIDEO_S),
        )

    with ExitStack() as stack:
        first, second = (
            stack.enter_context(Worker(config, str(folder / f"out/{n}"), plans, folder / f"work{n}", core))
            for n, core in enumerate(cores)
        )
        memory = stack.enter_context(PeakMemory(first.process.pid))
        rounds = [once(number) for number in range(num_rounds)]
    return rounds, memory.mb


def ms(timings):
    timings = list(timings)
    return f"{median(t.wall_s for t in timings):.0f} ms/s ({median(t.cpu_s for t in timings):.0f} of a core)"


def ratio(rounds, over, under):
    """Median over the rounds, so that a slow minute of the machine touches one round only."""
    return median(getattr(r, over).wall_s / getattr(r, under).wall_s for r in rounds)


@pytest.fixture(scope="module")
def talker_race(talker, tmp_path_factory, config_of, looped, yunet_path, cores, table):
    rounds, memory_mb = race(talker, tmp_path_factory.mktemp("race"), config_of, looped, yunet_path, cores)
    table.add("decode to null, 720p30, one core", ms(r.null for r in rounds))
    table.add("peak memory of the worker with ffmpeg, 720p30", f"{memory_mb:.0f} MB")
    return rounds


def test_one_core_against_decoding_alone(talker_race, table):
    slower = ratio(talker_race, "one", "null")
    table.add("720p30 to shards, one core", ms(r.one for r in talker_race), "decode to null", slower, "<= 2.0")
    assert slower <= 2.0


def test_one_core_against_the_naive_script(talker_race, table):
    faster = ratio(talker_race, "naive", "one")
    table.add("naive script, 720p30, one core", ms(r.naive for r in talker_race), "ours", faster, ">= 3.5")
    assert faster >= 3.5


def test_two_processes_against_one(talker_race, table):
    faster = ratio(talker_race, "one", "two")
    measured = ms(r.two for r in talker_race)
    table.add("720p30 to shards, two processes", measured, "one core: faster by", faster, ">= 1.8")
    assert faster >= 1.8


@pytest.fixture
def real_clip():
    if not REAL_CLIP.is_file():
        pytest.skip("no ../shared/clips beside the checkout")
    return REAL_CLIP


def test_a_real_clip_scaled_to_720p30(real_clip, tmp_path, config_of, looped, yunet_path, cores, table):
    large = tmp_path / "large.mp4"  # scaled up: nothing of that size is at hand
    picture = ["-vf", "scale=1280:720,fps=30", "-c:v", "libx264", "-preset", "veryfast", "-crf", "20"]
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-i", real_clip, *picture, "-c:a", "copy", large]
    subprocess.run(command, check=True)
    rounds, _ = race(large, tmp_path, config_of, looped, yunet_path, cores, num_rounds=5)
    slower, faster = ratio(rounds, "one", "null"), ratio(rounds, "naive", "one")
    table.add("real clip scaled to 720p30, one core", ms(r.one for r in rounds), "decode to null", slower, "<= 2.0")
    table.add("naive script, real clip scaled to 720p30", ms(r.naive for r in rounds), "ours", faster, ">= 3.5")
    assert slower <= 2.0
    assert faster >= 3.5


def test_a_real_clip_as_it_is(real_clip, tmp_path, config_of, looped, yunet_path, cores, table):
    rounds, _ = race(real_clip, tmp_path, config_of, looped, yunet_path, cores)
    slower, faster = ratio(rounds, "one", "null"), ratio(rounds, "naive", "one")
    table.add("real clip, 640x360, one core", ms(r.one for r in rounds), "decode to null", slower)
    table.add("naive script, real clip, one core", ms(r.naive for r in rounds), "ours", faster, ">= 3.5")
    assert faster >= 3.5


@pytest.fixture(scope="module")
def hour(talker, looped, minutes, tmp_path_factory):
    """A folder with an hour, or --minutes, of 720p30 in twelve files."""
    folder = tmp_path_factory.mktemp("hour") / "in"
    first = looped(talker, folder / "part00.mp4", minutes * 60 / NUM_PARTS)
    for number in range(1, NUM_PARTS):
        (folder / f"part{number:02d}.mp4").hardlink_to(first)
    return folder


@dataclass(frozen=True)
class Build:
    """A dataset that was built from nothing to the commit."""

    wall_s: float
    start_s: float  # of wall_s, until the first shard was begun
    info: DatasetInfo


def without_ray(config, folder):
    """The build by two plain processes."""
    begin, uri = time.perf_counter(), str(folder / "plain")
    with FirstShard(folder, "plain/attempts/*") as first, ExitStack() as stack:
        plans = plans_of(config)
        workers = [Worker(config, uri, plans[n::2], folder / f"work{n}") for n in range(2)]
        for worker in workers:
            stack.callback(worker.process.kill)
        both(*[stack.enter_context(worker) for worker in workers])
        sidecars = (storage.read_text(shards.shard_uri(uri, plan.name, "json")) for plan in plans)
        records = [shards.record_from_json(text) for text in sidecars]
        info = commit_dataset(uri, config, records, find_toolchain(config))
    return Build(time.perf_counter() - begin, first.seconds, info)


def with_ray(config, folder):
    """The build by the job."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config.to_json())
    begin = time.perf_counter()
    with FirstShard(Path(config.storage.root), "datasets/*/attempts/*") as first:
        timed([sys.executable, "-m", "pipeline.jobs.preprocess", folder / "config.json"])
    wall_s = time.perf_counter() - begin
    info = read_dataset(result_from_json((folder / "result.json").read_bytes()).output_uri)
    return Build(wall_s, first.seconds, info)


@dataclass(frozen=True)
class Pair:
    """The same work without Ray and with it, right after one another."""

    plain: Build
    ray: Build

    @property
    def share(self):
        """What Ray adds, as a part of what the work takes without it."""
        return self.ray.wall_s / self.plain.wall_s - 1


def pair(number, hour, config_of, folder):
    """One turn of each; who goes first alternates, for a machine that gets slower or faster meanwhile."""
    settings = {"shards": {"max_videos": 1}, "cluster": {"num_workers": 2}}
    turns = {
        "plain": lambda: without_ray(config_of(hour, folder / "a", **settings), folder / "a"),
        "ray": lambda: with_ray(config_of(hour, folder / "b", **settings), folder / "b"),
    }
    found = Pair(**{name: turns[name]() for name in sorted(turns, reverse=number % 2 == 1)})
    assert found.ray.info.digest == found.plain.info.digest
    assert found.ray.info.counts["ok"] == NUM_PARTS
    shutil.rmtree(folder)
    return found


def test_ray_adds_little_to_an_hour_of_video(hour, minutes, config_of, talker_race, table, tmp_path):
    pairs = [pair(number, hour, config_of, tmp_path / str(number)) for number in range(NUM_ROUNDS)]
    plain_s, ray_s = median(p.plain.wall_s for p in pairs), median(p.ray.wall_s for p in pairs)
    one_s = median(r.one.wall_s for r in talker_race) / 1000 * minutes * 60
    what = f"{minutes} min of 720p30"
    table.add(f"{what}, two plain processes", f"{plain_s:.0f} s", "one core: faster by", one_s / plain_s)
    table.add(f"{what}, Ray with two workers", f"{ray_s:.0f} s", "one core: faster by", one_s / ray_s)
    share = median(p.share for p in pairs)
    measured = "median of " + ", ".join(f"{p.share:.3f}" for p in sorted(pairs, key=lambda p: p.share))
    table.add("Ray's share of that", measured, "two plain processes", share, "<= 0.10 of an hour")
    begun_s, plainly_s = median(p.ray.start_s for p in pairs), median(p.plain.start_s for p in pairs)
    table.add("until the first shard begins, two plain processes", f"{plainly_s:.1f} s")
    table.add("until the first shard begins, Ray", f"{begun_s:.1f} s", "two plain processes", begun_s / plainly_s)
    assert share <= 0.10 or minutes < 60  # Ray starts once, however much there is to do
