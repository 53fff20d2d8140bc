"""Prefect's server as the command line needs it: the configured one, or a temporary one that signals do not reach."""

from __future__ import annotations

import atexit
import http.client
import os
import subprocess
import sys
import tempfile
import time
from http import HTTPStatus
from typing import IO
from urllib.parse import urlsplit

from flows.job_errors import JobError
from pipeline.runtime.environment import python_path

STARTUP_S = 120.0  # on a machine that others use, too
STOP_S = 5.0  # between the request to stop and the kill
POLL_S = 0.05
NUM_LOG_LINES = 5  # of a server that did not start


class TemporaryServer:
    """Prefect's temporary server, where Prefect's settings name no other: a process that ends with this one.

    Prefect's client would start one itself, but in our process group. What ends a group (Ctrl-C, `timeout iaca ...`)
    would then end the server before the flow that reports to it. Must be made before Prefect is imported: from then on
    its settings are fixed, and what it sends at the exit of this process must come before the server's end.
    """

    def __init__(self) -> None:
        self._log: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  # as long as the server
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli.temporary_server", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **python_path(), "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR"},
            start_new_session=True,
        )
        atexit.register(self._stop)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if self.url:
            os.environ["PREFECT_API_URL"] = self.url
        elif self._process.wait():
            raise self._error("did not start")

    def wait_until_ready(self) -> None:
        """Wait until the server answers; at once where none is needed.

        Raises:
            JobError: it ended, or did not answer in time.
        """
        until_s = time.monotonic() + STARTUP_S
        while self.url and not self._is_ready():
            if self._process.poll() is not None:
                raise self._error("ended while it started")
            if time.monotonic() > until_s:
                raise self._error(f"did not answer within {STARTUP_S:.0f} s")
            time.sleep(POLL_S)

    def _is_ready(self) -> bool:
        url = urlsplit(self.url)
        connection = http.client.HTTPConnection(url.netloc, timeout=STARTUP_S)
        try:
            connection.request("GET", f"{url.path}/health")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _error(self, what: str) -> JobError:
        self._log.seek(0)
        lines = [line for line in self._log.read().splitlines() if line.strip()][-NUM_LOG_LINES:]
        return JobError("\n  ".join([f"Prefect's temporary server {what}; its last output:", *lines]))
