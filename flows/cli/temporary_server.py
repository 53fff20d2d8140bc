"""The process of Prefect's temporary server: says whether one is needed, then serves until it or its parent ends."""

from __future__ import annotations

import os
import signal
import socket
import sys

from pipeline.runtime import processes


def main() -> None:
    """Print the API's URL, or nothing where Prefect's settings name a server or forbid a temporary one, and serve.

    The only argument is the id of the process that starts this one: with it the server ends.
    """
    processes.die_with_parent(signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        return  # it has ended already
    if not _is_needed():
        return
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))  # whoever connects before the server listens is refused
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/api", flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads on
    _serve(listener)


def _is_needed() -> bool:
    """Whether Prefect's client would start a temporary server, by the same settings."""
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE

    return not PREFECT_API_URL.value() and bool(PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value())


def _serve(listener: socket.socket) -> None:
    import uvicorn

    # As Prefect starts its own: no pages, and only the services that a client on the same machine needs.
    os.environ |= {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    settings = uvicorn.Config("prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on")
    uvicorn.Server(settings).run(sockets=[listener])


if __name__ == "__main__":
    main()
