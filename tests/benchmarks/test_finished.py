"""What a dataset costs once it is built: running again, committing, the index, and verification."""

import json
import sys
import time
from dataclasses import replace

import pytest

from pipeline import storage
from pipeline.config import dataset_fingerprint
from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.format import shards
from pipeline.dataset.format.dataset_info import read_dataset, read_index
from pipeline.dataset.format.shard_file import ShardFile
from pipeline.dataset.plan.shard_plan import plan_digest
from pipeline.dataset.sources.listing import list_videos
from pipeline.jobs import preprocess, verify
from pipeline.jobs.workers.shard_builder import ShardBuilder, find_toolchain
from pipeline.records import ShardRecord
from pipeline.training import run_record
from tests.benchmarks.measure import plans_of, timed
from tests.support.fake_run import SECTIONS, finished_run, small_dataset
from tests.support.processes import IACA

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
NUM_SHARDS = 1000
SAMPLES_PER_SHARD = 100  # of the large index
THROUGH_PREFECT = """
from flows import without_prefect
from flows.cli.main import main
without_prefect.find_finished = lambda name, config: []
main()
"""


@pytest.fixture(scope="module")
def thousand(draw, looped, config_of, tmp_path_factory):
    """The configuration of 1000 videos in as many shards, all written, not yet committed; and a record of one."""
    folder = tmp_path_factory.mktemp("thousand")
    first = looped(draw(320, 240, 25), folder / "in/v0000.mp4", 1)
    for number in range(1, NUM_SHARDS):
        (folder / f"in/v{number:04d}.mp4").hardlink_to(first)
    config = config_of(folder / "in", folder / "out", shards={"max_videos": 1}, cluster={"num_workers": 1})
    listing, toolchain = list_videos(config), find_toolchain(config)
    uri = f"{folder}/out/datasets/bench-{dataset_fingerprint(config, listing.content_ids, toolchain)}"
    plans = plans_of(config)
    assert len(plans) == NUM_SHARDS
    record = write_shards(plans, config, uri, toolchain, folder)
    return config, uri, record


def write_shards(plans, config, uri, toolchain, folder):
    """One shard built from its video; the others with the same pictures under their own names."""
    built = ShardBuilder(config, uri, toolchain).build(plans[0])
    tar = shards.shard_uri(uri, plans[0].name)
    segments = [verify.decode_slice(storage.read_bytes(tar, row.offset, row.size)) for row in built.samples]
    for plan in plans[1:]:
        (span,) = plan.spans
        names = {"video_id": span.video.video_id, "group": span.video.group, "split": span.video.split}
        path = folder / f"{plan.name}.tar"
        with ShardFile(path) as file:
            file.add_video(replace(segment, **names) for segment in segments)
        row = replace(built.videos[0], uri=span.video.uri, **names)
        shards.write_shard(path, _record(plan, path, file, row, built), uri)
        path.unlink(missing_ok=True)
    return built


def _record(plan, path, file, row, built) -> ShardRecord:
    own = {"name": plan.name, "sha256": shards.sha256_of_file(path), "size_bytes": path.stat().st_size}
    own |= {"plan_digest": plan_digest(plan), "samples": tuple(file.rows), "videos": (row,), "spans": plan.spans}
    return replace(built, **own)


def test_a_rerun_is_free(thousand, table, tmp_path):
    config, uri, _ = thousand
    begin = time.perf_counter()
    result = preprocess.run(config)  # scans every video, compares every tar with its record, and commits
    table.add(f"committing a build of {NUM_SHARDS} shards that are all there", f"{time.perf_counter() - begin:.1f} s")
    assert (result.output_uri, result.skipped, result.counts["shards"]) == (uri, False, NUM_SHARDS)
    begin = time.perf_counter()
    assert preprocess.run(config).skipped
    table.add(f"running again, {NUM_SHARDS} shards, within the process", f"{time.perf_counter() - begin:.2f} s")
    (tmp_path / "config.json").write_text(config.to_json())
    again = timed([sys.executable, "-m", "pipeline.jobs.preprocess", tmp_path / "config.json"])
    table.add(f"running again, {NUM_SHARDS} shards, as a job", f"{again.wall_s:.1f} s", budget="< 5 s")
    assert again.wall_s < 5


def test_a_finished_command_against_the_same_through_prefect(table, tmp_path):
    """The fixed cost of a command, as the seconds of `iaca train` on a run that is finished; the best of three."""
    run_uri = finished_run(tmp_path, small_dataset(tmp_path / "talkers"))
    top = "".join(f"{name} = {json.dumps(value)}\n" for name, value in SECTIONS.items() if not isinstance(value, dict))
    sections = (f"[{name}]\n{_lines(fields)}" for name, fields in SECTIONS.items() if isinstance(fields, dict))
    (tmp_path / "small.toml").write_text(top + "".join(sections))
    words = [
        "train",
        "--config",
        tmp_path / "small.toml",
        "--dataset",
        tmp_path / "talkers",
        "--storage.root",
        tmp_path,
    ]
    through_prefect = [sys.executable, "-c", THROUGH_PREFECT, *words]
    pairs = [(timed([IACA, *words]).wall_s, timed(through_prefect).wall_s) for _ in range(3)]
    found_s, prefect_s = (min(times) for times in zip(*pairs, strict=True))
    assert run_record.count_attempts(run_uri) == 1, "the run was not found"
    what = "a command that finds its output complete"
    table.add(what, f"{found_s:.1f} s", f"the same through Prefect, {prefect_s:.1f} s", found_s / prefect_s, "<= 0.5")
    assert found_s <= 0.5 * prefect_s


def _lines(fields) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())


def test_verification_against_hashing_alone(thousand, table):
    config, uri, _ = thousand
    preprocess.run(config)
    info = read_dataset(uri)
    megabytes = sum(entry.size_bytes for entry in info.shards) / 1e6
    begin = time.perf_counter()
    for entry in info.shards:
        shards.sha256_of_uri(shards.shard_uri(uri, entry.name))
    hashing_s, begin = time.perf_counter() - begin, time.perf_counter()
    verify.run(config.model_copy(update={"verify": replace(config.verify, dataset=uri)}))
    verify_s = time.perf_counter() - begin
    what = f"verifying {NUM_SHARDS} shards of {megabytes / NUM_SHARDS:.2f} MB"
    table.add(what, f"{verify_s:.1f} s, {megabytes / verify_s:.0f} MB/s", "sha256 alone", verify_s / hashing_s)


def test_the_index_of_many_samples(thousand, table, tmp_path):
    config, _, built = thousand
    records = [
        replace(
            built,
            name=f"train-{n:05d}",
            samples=tuple(replace(built.samples[0], key=f"{n}_{i}") for i in range(SAMPLES_PER_SHARD)),
            videos=(replace(built.videos[0], video_id=f"v{n}"),),
        )
        for n in range(NUM_SHARDS)
    ]
    begin = time.perf_counter()
    commit_dataset(str(tmp_path / "d"), config, records, find_toolchain(config))
    seconds = time.perf_counter() - begin
    number = NUM_SHARDS * SAMPLES_PER_SHARD
    table.add(f"index, card and page of {number:,} samples", f"{seconds:.1f} s, {number / seconds:,.0f} samples/s")
    begin = time.perf_counter()
    assert len(read_index(str(tmp_path / "d"))) == number
    table.add(f"reading that index of {number:,} samples", f"{time.perf_counter() - begin:.1f} s")
