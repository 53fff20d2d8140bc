"""A machine of the cluster is lost while it builds a shard: nothing lost, nothing twice, the same bytes."""

import json
import os
import signal
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.support.preprocessing import alive, config_of, require_invariants, result_of, start_job, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.fixture
def cluster(monkeypatch):
    """Three machines of one core each, and an environment in which a job finds them as the Ray Jobs API would."""
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    machines.add_node(num_cpus=1)
    machines.add_node(num_cpus=1)
    machines.wait_for_nodes()
    monkeypatch.setenv("RAY_ADDRESS", machines.address)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    yield machines
    machines.shutdown()


def test_a_lost_machine_loses_and_doubles_nothing(talkers, undisturbed, cluster, tmp_path):
    lost = cluster.list_all_nodes()[-1]
    raylet = lost.all_processes["raylet"][0].process.pid
    process = start_job(config_of(talkers, tmp_path / "root"), tmp_path)
    mark, victim = wait_for(lambda: at_work_below(raylet, tmp_path))
    os.kill(victim, signal.SIGSTOP)  # it must not finish before its machine is gone
    cluster.remove_node(lost, allow_graceful=False)
    os.kill(victim, signal.SIGKILL)
    sidecar = mark.parents[1] / "shards" / f"{mark.stem.rpartition('-')[0]}.json"
    assert not sidecar.exists(), "the victim had finished its shard before its machine was lost"
    result = result_of(process, tmp_path)
    require_invariants(result.output_uri, undisturbed)
    assert json.loads(sidecar.read_text())["attempts"] == 2
    wait_for(lambda: not alive(victim), timeout_s=30)


def at_work_below(raylet, folder):
    """The mark and the process id of a worker that has begun a shard on the machine of this raylet."""
    for mark in folder.glob("root/datasets/*/attempts/*.json"):
        pid = json.loads(mark.read_text())["pid"]
        if raylet in ancestors(pid):
            return mark, pid
    return None


def ancestors(pid):
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        yield pid
