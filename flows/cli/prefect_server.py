"""Prefect's server as the command line needs it: the configured one, or a temporary one that Ctrl-C does not reach."""

from __future__ import annotations

import signal
from threading import Thread


def start_if_needed() -> None:
    """Start Prefect's temporary server where none is configured.

    A terminal sends Ctrl-C to every process of its foreground group. The server must outlast the flow, which reports to
    it and stops its job by itself. A signal that is blocked where a process is started stays blocked in it, hence a
    thread of its own, beside which this one can still be interrupted.
    """
    thread = Thread(target=_connect, daemon=True)
    thread.start()
    thread.join()


def _connect() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    from prefect.client.orchestration import get_client

    get_client(sync_client=True)
