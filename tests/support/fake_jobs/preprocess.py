"""The fake shard job."""

from pipeline.config import Config
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult
from tests.support.fake_jobs import fake_job


def prepare(config: Config) -> JobResult | None:
    """See fake_job."""
    return fake_job.prepare("preprocess", config)


def run(config: Config) -> JobResult:
    """See fake_job."""
    return fake_job.run("preprocess", config)


if __name__ == "__main__":
    job_process.main("preprocess", run, prepare)
