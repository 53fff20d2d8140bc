"""The fake ablate job."""

import fake_job

from pipeline.config import Config
from pipeline.jobs import entry
from pipeline.progress import JobResult


def run(config: Config) -> JobResult:
    """See fake_job."""
    return fake_job.run("ablate", config)


if __name__ == "__main__":
    entry.main("ablate", run)
