"""A job on a Ray cluster: submitted once under its own name, followed, and stopped with the flow that submitted it."""

from __future__ import annotations

import asyncio
import logging
import re
import shlex
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from flows.job_errors import JobLostError
from flows.local_job import job_package
from pipeline import storage
from pipeline.config import Config, UsageError, fingerprint
from pipeline.config.fields import Stage
from pipeline.config.uris import is_shared, uris_of, uris_read_by
from pipeline.runtime import exit_codes
from pipeline.runtime.environment import PRIVACY, VERBOSE, is_verbose

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails
    from ray.job_submission import JobSubmissionClient

OWNER = "prefect_flow_run"  # the metadata that says which flow run submitted a job
RETRY_S = 2.0  # between attempts to reach the log of a running job
UNREACHABLE_S = 120.0  # after which a silent cluster counts as lost
STOP_S = 60.0  # Ray asks a job to end and kills it 3 seconds later


def run(kind: str, config: Config, config_uri: str, on_line: Callable[[str], None], owner: str = "") -> int:
    """Run a job on the cluster at `config.cluster.address`, hand over its output and return its exit code.

    A pending or running job of the same name is followed instead of started twice. One that succeeded is taken as it is
    if the same flow run (`owner`) submitted it: for another one the inputs may have changed since. An interruption of
    this function stops the job.

    Raises:
        JobLostError: the cluster cannot be reached or lost the job.
    """
    client = _connect(config.cluster.address)
    name = f"{kind}-{fingerprint(config)}"
    job_id = _find(client, name, owner) or _submit(client, name, kind, config_uri, owner)
    on_line(f"cluster {config.cluster.address}, job {job_id}")
    try:
        asyncio.run(_follow(client, job_id, on_line))
    except BaseException:
        stop(client, job_id)
        raise
    return _exit_code(client, job_id)


def stop(client: JobSubmissionClient, job_id: str) -> None:
    """Stop a job and wait until it has ended; one that has ended already is left alone."""
    until_s = time.monotonic() + STOP_S
    client.stop_job(job_id)
    while not client.get_job_status(job_id).is_terminal() and time.monotonic() < until_s:
        time.sleep(0.2)


def stop_all(address: str, owner: str) -> list[str]:
    """Stop every job that the flow run `owner` has submitted and that has not ended; return their ids."""
    client = _connect(address)
    owned = [job for job in client.list_jobs() if owner and (job.metadata or {}).get(OWNER) == owner]
    stopped = [str(job.submission_id) for job in owned if not job.status.is_terminal()]
    for job_id in stopped:
        stop(client, job_id)
    return stopped


def require_shared_uris(config: Config, stages: Collection[Stage]) -> None:
    """Raise UsageError for a path of this machine that a cluster's job is to use and that is not declared shared."""
    used = {name for name, _, _ in uris_read_by(config, stages)}
    for name, uri, declaration in uris_of(config):
        is_used = name in used or declaration.kind == "root"
        if uri and is_used and storage.is_local(uri) and not is_shared(config, declaration):
            switch = "--source.shared" if declaration.kind == "source" else "--storage.shared"
            raise UsageError(
                f"{name} is {uri}, a path of this machine, which the cluster at {config.cluster.address} "
                f"may not see; use an s3:// address, or set {switch} if every node has it under this path"
            )


def _connect(address: str) -> JobSubmissionClient:
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        raise JobLostError(f"cannot reach a Ray cluster at cluster.address {address}: {error}") from error


def _find(client: JobSubmissionClient, name: str, owner: str) -> str | None:
    """The newest attempt if it is to be followed or taken as it is."""
    attempts = _attempts(client, name)
    if not attempts:
        return None
    last = attempts[max(attempts)]
    succeeded_here = last.status == "SUCCEEDED" and owner != "" and (last.metadata or {}).get(OWNER) == owner
    return last.submission_id if succeeded_here or not last.status.is_terminal() else None


def _attempts(client: JobSubmissionClient, name: str) -> dict[int, JobDetails]:
    pattern = re.compile(re.escape(name) + r"-a(\d+)")
    matches = ((pattern.fullmatch(job.submission_id or ""), job) for job in client.list_jobs())
    return {int(match[1]): job for match, job in matches if match}


def _submit(client: JobSubmissionClient, name: str, kind: str, config_uri: str, owner: str) -> str:
    job_id = f"{name}-a{max(_attempts(client, name), default=0) + 1}"
    storage.delete(config_uri.rsplit("/", 1)[0] + "/result.json")
    variables = {**PRIVACY, **({VERBOSE: "1"} if is_verbose() else {})}
    try:
        return client.submit_job(
            entrypoint=f"python -m {job_package()}.{kind} {shlex.quote(config_uri)}",
            submission_id=job_id,
            runtime_env={"env_vars": variables},
            metadata={OWNER: owner},
        )
    except RuntimeError:
        if job_id in {job.submission_id for job in client.list_jobs()}:
            return job_id  # another flow run has just submitted the same job
        raise


async def _follow(client: JobSubmissionClient, job_id: str, on_line: Callable[[str], None]) -> None:
    """Hand over each line of the job's log once, over as many connections as it takes, until the job has ended."""
    import aiohttp

    lines, reached_s = _LogLines(on_line), time.monotonic()
    while True:
        try:
            lines.start_again()
            async for chunk in client.tail_job_logs(job_id):
                lines.add(chunk)
            if client.get_job_status(job_id).is_terminal():
                return lines.end()
            reached_s = time.monotonic()
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # requests' errors are OSErrors
            if time.monotonic() - reached_s > UNREACHABLE_S:
                raise JobLostError(f"the cluster does not answer about job {job_id}: {error}") from error
        await asyncio.sleep(RETRY_S)


class _LogLines:
    """Cuts the chunks of a log into lines, and skips those it has handed over when the log starts again."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.on_line, self.num_handed_over = on_line, 0
        self.start_again()

    def start_again(self) -> None:
        """Expect the log from its beginning: every connection sends all of it."""
        self.num_read, self.pending = 0, ""

    def add(self, chunk: str) -> None:
        """Hand over the lines that the chunk completes."""
        *complete, self.pending = (self.pending + chunk).split("\n")
        for line in complete:
            self._hand_over(line)

    def end(self) -> None:
        """Hand over a last line without its end."""
        if self.pending:
            self._hand_over(self.pending)

    def _hand_over(self, line: str) -> None:
        self.num_read += 1
        if self.num_read > self.num_handed_over:
            self.num_handed_over = self.num_read
            self.on_line(line)


def _exit_code(client: JobSubmissionClient, job_id: str) -> int:
    info = client.get_job_info(job_id)
    if info.status == "SUCCEEDED":
        return exit_codes.DONE
    if info.status == "STOPPED":
        return exit_codes.INTERRUPTED
    code = info.driver_exit_code
    if code is None:
        raise JobLostError(f"the cluster lost job {job_id}: {info.message}")
    # The entry point runs in a shell, which reports signal N as 128 + N; 130 is our own.
    return code if code <= 128 or code == exit_codes.INTERRUPTED else 128 - code
