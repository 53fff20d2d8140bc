"""The fake fetch_model job."""

from pipeline.config import Config
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult
from tests.support.fake_jobs import fake_job


def run(config: Config) -> JobResult:
    """See fake_job."""
    return fake_job.run("fetch_model", config)


if __name__ == "__main__":
    job_process.main("fetch_model", run)
