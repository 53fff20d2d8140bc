"""Whether there are the GPUs and CPUs that a job's workers need: Ray would wait for ever for what is missing."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import Config, UsageError
from pipeline.jobs.ray_session import start_ray
from pipeline.records import SampleRow
from pipeline.runtime import job_process
from pipeline.training import sampler


@dataclass(frozen=True, slots=True)
class Demand:
    """The workers of a job that must run at the same time; each takes a GPU, or else a CPU."""

    section: str  # of the configuration, which has `use_gpu` and `num_workers`
    num_workers: int
    use_gpu: bool


def require_resources(demand: Demand) -> None:
    """Refuse a job before its work begins where this machine, or the cluster of this job, cannot run its workers.

    Here only GPUs can be missing, and torch finds them without Ray: a private Ray gets as many CPUs as there are
    workers. To a cluster this job attaches, which takes no time.

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
            gpus = f"{_count(num_gpus, 'GPU')} that torch can use"
            raise UsageError(_refusal(demand, num_gpus, f"this machine has {gpus}, and {_count(num_cores(), 'CPU')}"))


def require_ray_resources(demand: Demand) -> None:
    """Raise UsageError unless the running Ray has, or can grow to, what the workers need."""
    kind = "GPU" if demand.use_gpu else "CPU"
    num_available = max(_in_nodes(kind), _in_largest_cluster(kind))
    if num_available < demand.num_workers:
        found = " and ".join(_count(_in_nodes(each), each) for each in ("GPU", "CPU"))
        raise UsageError(_refusal(demand, num_available, f"Ray sees {found}"))


def num_cores() -> int:
    """The cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def training_notices(config: Config, train_rows: Sequence[SampleRow]) -> list[str]:
    """What is allowed but hardly meant: an epoch that is a single step, and workers that share cores.

    Args:
        config: of the run.
        train_rows: the labelled samples of the train split.
    """
    settings = config.train
    samples = sampler.training_samples(
        train_rows,
        stride=config.sequence.subclip_stride,
        num_phases=settings.phases_per_segment,
        seed=settings.seed,
        epoch=0,
    )
    num_sequences = sum(len(sample.phases) for sample in samples)
    notices = []
    if settings.batch_size >= num_sequences:
        notices.append(
            f"train.batch_size is {settings.batch_size}, and an epoch has {_count(num_sequences, 'sequence')}: each "
            f"epoch is one step, {_count(settings.epochs, 'step')} in all at most; a smaller batch gives more"
        )
    if not (settings.use_gpu or job_process.on_cluster()) and settings.num_workers > num_cores():
        notices.append(
            f"train.num_workers is {settings.num_workers}: they share the {_count(num_cores(), 'core')} of this "
            f"machine, which is no faster than one worker for each"
        )
    return notices


def _in_nodes(kind: str) -> int:
    """GPUs or CPUs of all nodes that are there; fractions of one are of no use to a worker."""
    import ray

    return sum(int(node["Resources"].get(kind, 0)) for node in ray.nodes() if node["Alive"])


def _in_largest_cluster(kind: str) -> int:
    """GPUs or CPUs of the cluster when its autoscaler has started all that it may; 0 where there is no autoscaler."""
    from ray._private.state import state  # Ray has no public name for it

    return int((state.get_max_resources_from_cluster_config() or {}).get(kind, 0))


def _refusal(demand: Demand, num_available: int, found: str) -> str:
    kind = "GPU" if demand.use_gpu else "CPU"
    setting = f"{demand.section}.num_workers"
    asked = f"{demand.section}.use_gpu is set" if demand.use_gpu else f"{setting} is {demand.num_workers}"
    if demand.use_gpu and demand.num_workers > 1:
        asked += f" and {setting} is {demand.num_workers}"
    remedies = [f"lower {setting} to {num_available}"] if num_available else []
    remedies += [f"leave {demand.section}.use_gpu out"] if demand.use_gpu else []
    remedies += [f"give Ray {_count(demand.num_workers, kind)}"]
    return f"{asked}, which needs {_count(demand.num_workers, kind)}, but {found}; {', or '.join(remedies)}"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
