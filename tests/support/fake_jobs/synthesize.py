"""The fake synthesize job."""

from pipeline.config import Config
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult
from tests.support.fake_jobs import fake_job


def prepare(config: Config) -> JobResult | None:
    """See fake_job."""
    return fake_job.prepare("synthesize", config)


def run(config: Config) -> JobResult:
    """See fake_job."""
    return fake_job.run("synthesize", config)


if __name__ == "__main__":
    job_process.main("synthesize", run, prepare)
