"""Starting Ray for a job: the cluster that started it, or a private local one."""

from __future__ import annotations

import logging
import os

from pipeline.runtime import job_process, processes
from pipeline.runtime.environment import NO_RAY_AUTH, is_verbose

NO_METRICS = {"RAY_enable_metrics_collection": "0", "RAY_event_stats": "0"}  # a private Ray has no dashboard
AUTOSCALERS = ("autoscaler/_private/monitor.py", "autoscaler/v2/monitor.py")
UNUSED_SCRIPTS = (*AUTOSCALERS, "ray/_private/log_monitor.py")  # there is nothing to scale and no log to forward


def start_ray(num_cpus: int | None = None) -> None:
    """Attach to the cluster that started this job, or start a private local Ray that dies with it.

    A cluster that is attached already is kept.

    Args:
        num_cpus: of the private Ray; None: those of the machine.
    """
    import ray

    if job_process.on_cluster():
        ray.init(log_to_driver=is_verbose(), ignore_reinit_error=True)
    else:
        for name, value in {**NO_RAY_AUTH, **NO_METRICS}.items():
            os.environ.setdefault(name, value)
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            log_to_driver=is_verbose(),
            logging_level=logging.WARNING,
        )
        if not is_verbose():
            processes.kill_scripts(*UNUSED_SCRIPTS)  # they take the workers' time, and a second when Ray shuts down
    job_process.interrupt_on_signals()  # Ray has put its own handler there
