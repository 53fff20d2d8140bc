"""Building a dataset on storage that fails, and in spite of others who build the same: every input once, same bytes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import s3fs

from pipeline import storage
from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.format import shards
from pipeline.dataset.plan.shard_plan import plan_digest
from pipeline.jobs import preprocess, verify
from pipeline.jobs.workers import shard_builder
from tests.support.fake_faulty_proxy import FakeFaultyProxy, Fault
from tests.support.preprocessing import (
    build_in_process,
    builder_of,
    config_of,
    plans_of,
    require_invariants,
    result_of,
    rows_of,
    start_job,
)


@pytest.fixture
def proxy(s3_server, monkeypatch):
    with FakeFaultyProxy(s3_server["AWS_ENDPOINT_URL"]) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        monkeypatch.setenv("IACA_STORAGE_TIMEOUT_S", "3")
        yield between


@pytest.fixture
def undamaged(s3_server, s3_bucket):
    """Checks a dataset past the proxy: its invariants, and that no upload is left unfinished in its bucket."""

    def check(uri, undisturbed, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server["AWS_ENDPOINT_URL"])
        require_invariants(uri, undisturbed)
        keys = {"key": s3_server["AWS_ACCESS_KEY_ID"], "secret": s3_server["AWS_SECRET_ACCESS_KEY"]}
        client = s3fs.S3FileSystem(endpoint_url=s3_server["AWS_ENDPOINT_URL"], **keys)
        assert client.list_multipart_uploads(s3_bucket.removeprefix("s3://")) == []

    return check


def test_a_bad_network_changes_no_byte(talkers, undisturbed, undamaged, proxy, s3_bucket, monkeypatch):
    proxy.faults = [
        Fault("reset", "PUT", ".tar"),
        Fault("lost", "PUT", ".tar"),
        Fault("silent", "PUT", "-00000.json"),
        Fault("lost", "PUT", "/attempts/"),
        Fault("short", "GET", "/attempts/"),
        Fault("reset", "GET", "list-type"),
        Fault("lost", "PUT", "/index.parquet"),
        Fault("lost", "PUT", "/dataset.json"),
    ]
    info = build_in_process(config_of(talkers, f"{s3_bucket}/talks"))
    assert not [fault for fault in proxy.faults if fault.times]
    undamaged(info.uri, undisturbed, monkeypatch)


@pytest.mark.slow
def test_a_store_that_stays_silent_stops_the_shard_in_one_line_and_a_rerun_goes_on(
    talkers, undisturbed, undamaged, proxy, s3_bucket, monkeypatch
):
    monkeypatch.setenv("IACA_STORAGE_TIMEOUT_S", "2")
    config = config_of(talkers, f"{s3_bucket}/talks")
    plan, uri = plans_of(config)[0], f"{s3_bucket}/talks/datasets/talk"
    proxy.faults = [Fault("silent", "PUT", ".tar", times=1000)]
    worker = builder_of(config, uri)
    result = worker(plan)
    assert result.record is None
    assert result.error.startswith(f"{plan.name}: ")
    assert f"{uri}/shards/{plan.name}.tar" in result.error
    assert "\n" not in result.error
    proxy.faults = []
    assert not storage.list_files(f"{uri}/shards")
    undamaged(build_in_process(config).uri, undisturbed, monkeypatch)


def test_a_flipped_bit_is_no_finished_shard(talkers, undisturbed, undamaged, proxy, s3_bucket, monkeypatch):
    config = config_of(talkers, f"{s3_bucket}/talks")
    info = build_in_process(config)
    first = info.shards[0]
    plan = next(plan for plan in plans_of(config) if plan.name == first.name)
    proxy.faults = [Fault("flip", "GET", f"{first.name}.tar")]
    assert shards.finished_shard(info.uri, plan.name, plan_digest(plan)) is None
    proxy.faults = [Fault("flip", "GET", f"{first.name}.tar")]
    assert "the tar has sha256" in verify.problem_of(info.uri, first, rows_of(info.uri, first.name))
    assert shards.finished_shard(info.uri, plan.name, plan_digest(plan)).sha256 == first.sha256
    undamaged(info.uri, undisturbed, monkeypatch)


def test_a_video_that_is_gone_since_it_was_listed_is_a_row(talkers, s3_server, s3_bucket, tmp_path):
    for name in ("person00_clip0.mp4", "person00_clip1.mp4"):
        storage.publish(talkers / "videos" / name, f"{s3_bucket}/videos/{name}")
    config = config_of(talkers, tmp_path)
    config = config.model_copy(update={"source": replace(config.source, videos=f"{s3_bucket}/videos")})
    (plan,) = plans_of(config)
    storage.delete(f"{s3_bucket}/videos/person00_clip0.mp4")
    gone, kept = builder_of(config, str(tmp_path / "d")).build(plan).videos
    assert (gone.video_id, gone.status, gone.stage, gone.reason) == ("person00_clip0", "rejected", "source", "missing")
    assert f"{s3_bucket}/videos/person00_clip0.mp4" in gone.detail
    assert kept.status == "ok"


@pytest.mark.parametrize("storage_root", ["local", pytest.param("rgw", marks=pytest.mark.s3)], indirect=True)
def test_two_builds_race_for_one_commit(talkers, undisturbed, storage_root):
    config = config_of(talkers, storage_root)
    uri, toolchain = storage.join(storage_root, "datasets/talk"), shard_builder.find_toolchain(config)
    plans, line = plans_of(config), threading.Barrier(2)

    def build(run):
        worker = shard_builder.ShardBuilder(config, uri, toolchain, run)
        records = [worker.build(plan) for plan in plans]
        line.wait(60)
        return commit_dataset(uri, config, records, toolchain)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(build, ("one driver", "another driver"))
    assert first.digest == second.digest
    require_invariants(uri, undisturbed)


def test_a_root_that_cannot_be_used_is_refused_before_the_work(talkers, s3_server, proxy, s3_bucket, capsys):
    with pytest.raises(FileNotFoundError, match=rf"no bucket 'never-made' at {proxy.endpoint} for s3://never-made"):
        preprocess.run(config_of(talkers, "s3://never-made/root"))
    proxy.faults = [Fault("403", "PUT", times=1000)]  # keys that may only read
    with pytest.raises(PermissionError, match=rf"{proxy.endpoint} refuses access to {s3_bucket}/talks.*AccessDenied"):
        preprocess.run(config_of(talkers, f"{s3_bucket}/talks"))
    assert capsys.readouterr().out == "", "no video was looked at, no plan made"


@pytest.mark.slow
def test_two_jobs_at_once_are_one_dataset(talkers, undisturbed, tmp_path):
    config = config_of(talkers, tmp_path / "root", cluster={"num_workers": 1})
    jobs = [(start_job(config, tmp_path / name), tmp_path / name) for name in ("a", "b")]
    first, second = (result_of(*job) for job in jobs)
    assert first.output_uri == second.output_uri
    assert first.counts == second.counts
    require_invariants(first.output_uri, undisturbed)
