"""Whether there are the GPUs and CPUs that a job's workers need: Ray would wait for ever for what is missing."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from pipeline.config import UsageError
from pipeline.jobs.ray_session import start_ray
from pipeline.records.quantities import count_text
from pipeline.runtime import job_process


@dataclass(frozen=True, slots=True)
class Demand:
    """The workers of a job that must run at the same time; each takes a GPU, or else a CPU."""

    section: str  # of the configuration, which has `use_gpu`, and `num_workers` if there may be several
    num_workers: int
    use_gpu: bool


def require_resources(demand: Demand) -> None:
    """Refuse a job before its work begins where this machine, or the cluster of this job, cannot run its workers.

    On this machine only GPUs can be missing, because a private Ray gets as many CPUs as there are workers: torch is
    loaded to find them, and only where they are asked for. In a cluster this process attaches to its Ray.

    Raises:
        UsageError: there are too few.
    """
    if job_process.on_cluster():
        start_ray()
        require_ray_resources(demand)
    elif demand.use_gpu:
        import torch

        num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if num_gpus < demand.num_workers:
            found = f"this machine has {_found(num_gpus, 'GPU')} that torch can use, and {_found(num_cores(), 'CPU')}"
            remedy = f"run it on a machine with {_needed(demand)}"
            raise UsageError(_refusal(demand, num_gpus, found, remedy))


def require_ray_resources(demand: Demand) -> None:
    """Raise UsageError unless the running Ray has, or can grow to, what the workers need."""
    kind = "GPU" if demand.use_gpu else "CPU"
    num_available = max(_in_nodes(kind), _in_largest_cluster(kind))
    if num_available < demand.num_workers:
        found = " and ".join(_found(_in_nodes(each), each) for each in ("GPU", "CPU"))
        raise UsageError(_refusal(demand, num_available, f"Ray sees {found}", f"give Ray {_needed(demand)}"))


def num_cores() -> int:
    """The cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def shared_cores() -> int | None:
    """The cores of this machine, which a job's workers share; None on a cluster, where Ray gives each its own."""
    return None if job_process.on_cluster() else num_cores()


def _in_nodes(kind: str) -> int:
    """GPUs or CPUs of all nodes that are there; fractions of one are of no use to a worker."""
    import ray

    return sum(int(node["Resources"].get(kind, 0)) for node in ray.nodes() if node["Alive"])


def _in_largest_cluster(kind: str) -> int:
    """GPUs or CPUs of the cluster when its autoscaler has started all that it may; 0 where that is not known."""
    try:  # Ray has no public name for it, and another release may have another
        from ray._private.state import state

        return int((state.get_max_resources_from_cluster_config() or {}).get(kind, 0))
    except (ImportError, AttributeError):
        return 0


def _refusal(demand: Demand, num_available: int, found: str, remedy: str) -> str:
    """Why a job is refused.

    Args:
        demand: of the job.
        num_available: GPUs, or CPUs, whichever is asked for.
        found: what there is.
        remedy: how there could be enough.
    """
    setting = f"{demand.section}.num_workers"
    asked = f"{demand.section}.use_gpu is set" if demand.use_gpu else f"{setting} is {demand.num_workers}"
    if demand.use_gpu and demand.num_workers > 1:
        asked += f" and {setting} is {demand.num_workers}"
    remedies = [f"lower {setting} to {num_available}"] if num_available else []
    remedies += [f"leave {demand.section}.use_gpu out"] if demand.use_gpu else []
    ways_out = f"{', '.join(remedies)}, or {remedy}" if remedies else remedy
    return f"{asked}, which needs {_needed(demand)}, but {found}; {ways_out}"


def _needed(demand: Demand) -> str:
    return count_text(demand.num_workers, "GPU" if demand.use_gpu else "CPU")


def _found(number: int, noun: str) -> str:
    return count_text(number, noun) if number else f"no {noun}"
