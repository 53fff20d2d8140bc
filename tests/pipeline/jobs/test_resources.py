"""What Ray would wait for for ever is refused with what there is."""

import json
import os
import subprocess
import sys

import pytest
import ray._private.state as ray_state
import torch

from pipeline.config import UsageError
from pipeline.config.job_sections import AblateConfig, ExtractConfig
from pipeline.jobs import ablate, extract, resources, train
from pipeline.jobs.resources import Demand, require_ray_resources
from pipeline.records.quantities import count_text
from pipeline.runtime import job_process
from pipeline.runtime.progress import NOTICE_PREFIX
from tests.support.fake_run import finished_run, small_config, small_dataset
from tests.support.preprocessing import result_of, start_job

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "talkers")


@without_gpu
def test_training_on_gpus_that_are_not_there_ends_at_once(dataset, tmp_path):
    config = small_config(tmp_path, dataset=dataset.uri, use_gpu=True, num_workers=2)
    job = start_job(config, tmp_path / "job", "train")
    assert job.wait(timeout=60) == 2
    assert (tmp_path / "job/output.txt").read_text() == (
        "error: train.use_gpu is set and train.num_workers is 2, which needs 2 GPUs, but this machine has no GPU that "
        f"torch can use, and {count_text(resources.num_cores(), 'CPU')}; leave train.use_gpu out, or run it on a "
        "machine with 2 GPUs\n"
    )
    assert not (tmp_path / "runs").exists()


@without_gpu
def test_so_do_extraction_and_ablation(dataset, tmp_path):
    config = small_config(tmp_path)
    run_uri = finished_run(tmp_path, dataset, epochs=1)
    extraction = config.model_copy(update={"extract": ExtractConfig(dataset.uri, run_uri, use_gpu=True)})
    with pytest.raises(UsageError, match=r"extract\.use_gpu is set, which needs 1 GPU, but this machine has no GPU"):
        extract.run(extraction)
    ablation = config.model_copy(update={"ablate": AblateConfig(use_gpu=True)})
    with pytest.raises(UsageError, match=r"ablate\.use_gpu is set, which needs 1 GPU, .*; leave ablate\.use_gpu out"):
        ablate.run(ablation)
    assert not (tmp_path / "datasets").exists()


@without_gpu
def test_a_finished_run_is_found_without_its_gpus(dataset, tmp_path):
    finished_run(tmp_path, dataset, epochs=1)
    assert train.run(small_config(tmp_path, dataset=dataset.uri, epochs=1, use_gpu=True)).skipped


def test_a_running_ray_must_have_what_all_workers_need(local_ray):
    require_ray_resources(Demand("train", 2, use_gpu=False))
    with pytest.raises(UsageError) as caught:
        require_ray_resources(Demand("train", 3, use_gpu=False))
    assert str(caught.value) == (
        "train.num_workers is 3, which needs 3 CPUs, but Ray sees no GPU and 2 CPUs; lower train.num_workers to 2, or "
        "give Ray 3 CPUs"
    )
    with pytest.raises(UsageError) as caught:
        require_ray_resources(Demand("train", 1, use_gpu=True))
    assert str(caught.value) == (
        "train.use_gpu is set, which needs 1 GPU, but Ray sees no GPU and 2 CPUs; leave train.use_gpu out, or give Ray "
        "1 GPU"
    )


def without_the_method(monkeypatch):
    monkeypatch.delattr(type(ray_state.state), "get_max_resources_from_cluster_config")


def without_the_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray._private.state", None)


@pytest.mark.parametrize("another_ray", [without_the_method, without_the_module])
def test_without_a_known_limit_of_growth_the_nodes_count(local_ray, monkeypatch, another_ray):
    another_ray(monkeypatch)
    require_ray_resources(Demand("train", 2, use_gpu=False))
    with pytest.raises(
        UsageError, match=r"train\.num_workers is 3, which needs 3 CPUs, but Ray sees no GPU and 2 CPUs"
    ):
        require_ray_resources(Demand("train", 3, use_gpu=False))


def test_a_job_on_a_cluster_asks_the_cluster(local_ray, dataset, tmp_path):
    """A process with the marks of a job of the Jobs API, in the cluster of two CPUs that the tests run."""
    address = local_ray.get_runtime_context().gcs_address
    config = small_config(tmp_path, dataset=dataset.uri, num_workers=3)
    (tmp_path / "config.json").write_text(config.to_json())
    job = subprocess.run(
        [sys.executable, "-m", "pipeline.jobs.train", str(tmp_path / "config.json")],
        env={**os.environ, "RAY_ADDRESS": address, "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({})},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert job.returncode == 2, job.stdout + job.stderr
    assert "train.num_workers is 3, which needs 3 CPUs, but Ray sees no GPU and 2 CPUs" in job.stdout


GROWS = """
import ray
from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig
from pipeline.jobs.resources import Demand, require_ray_resources

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
try:
    require_ray_resources(Demand("train", 4, use_gpu=True))
except ValueError as error:
    print(error)
groups = [NodeGroupConfig(resources={"CPU": 8, "GPU": 2}, max_count=2)]
gcs = ray._raylet.GcsClient(address=ray.get_runtime_context().gcs_address)
gcs.report_cluster_config(ClusterConfig(node_group_configs=groups).SerializeToString())
require_ray_resources(Demand("train", 4, use_gpu=True))
try:
    require_ray_resources(Demand("train", 5, use_gpu=True))
except ValueError as error:
    print(error)
"""


def test_an_autoscaler_may_start_what_is_missing():
    """By the private function of the installed Ray, for which there is no public one."""
    job = subprocess.run([sys.executable, "-c", GROWS], capture_output=True, text=True, timeout=120)
    assert job.returncode == 0, job.stderr
    before, after = (line for line in job.stdout.splitlines() if "train" in line)
    assert "needs 4 GPUs, but Ray sees no GPU and 1 CPU; leave" in before
    assert (
        "needs 5 GPUs, but Ray sees no GPU and 1 CPU; lower train.num_workers to 4, leave train.use_gpu out, or"
        in after
    )


def test_cores_are_shared_on_this_machine_only(monkeypatch):
    assert resources.shared_cores() == resources.num_cores()
    monkeypatch.setattr(job_process, "on_cluster", lambda: True)  # where Ray gives each worker a CPU
    assert resources.shared_cores() is None


def test_the_job_announces_them_before_it_trains(dataset, tmp_path):
    config = small_config(tmp_path, dataset=dataset.uri, batch_size=100_000, epochs=1)
    job = start_job(config, tmp_path / "job", "train")
    result_of(job, tmp_path / "job")
    output = (tmp_path / "job/output.txt").read_text()
    notice, progress = output.index(f"{NOTICE_PREFIX}train.batch_size is 100000"), output.index("@progress")
    assert notice < progress
