"""The fake train job."""

from pipeline.config import Config
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult
from tests.support.fake_jobs import fake_job


def prepare(config: Config) -> JobResult | None:
    """See fake_job."""
    return fake_job.prepare("train", config)


def run(config: Config) -> JobResult:
    """See fake_job."""
    return fake_job.run("train", config)


if __name__ == "__main__":
    job_process.main("train", run, prepare)
