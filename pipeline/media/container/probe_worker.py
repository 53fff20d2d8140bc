"""The process that reads containers: requests on standard input, responses on standard output.

A request is a line of JSON. A response is a line of JSON, its header, and behind it the bytes of the arrays that the
header names: nothing in it can be code.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import fields
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from pipeline.media.container.demux import read_container
from pipeline.media.limits import PROBE_BYTES
from pipeline.records import Probe, Rejection


def respond(path: Path, max_duration_s: float) -> bytes:
    """Read one file.

    Returns:
        The response: a probe, a rejection or an error.
    """
    try:
        probe = read_container(path, max_duration_s=max_duration_s)
    except Rejection as rejection:
        return _header(rejection=[rejection.stage, rejection.reason, rejection.detail])
    except (av.FFmpegError, OSError) as error:
        return _header(error=[error.errno, error.strerror])
    values = {field.name: getattr(probe, field.name) for field in fields(Probe)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    scalars = {name: value for name, value in values.items() if name not in arrays}
    shapes = {name: value.shape for name, value in arrays.items()}
    data = b"".join(value.astype("<f8").tobytes() for value in arrays.values())
    return _header(probe=scalars, arrays=shapes) + data


def _header(**parts: object) -> bytes:
    return json.dumps(parts).encode() + b"\n"


def serve(requests: BinaryIO, responses: BinaryIO) -> None:
    """Respond to requests until their stream ends, which it does when the parent is gone."""
    for line in requests:
        request = json.loads(line)
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = int(used.ru_utime + used.ru_stime + request["timeout_s"]) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, resource.RLIM_INFINITY))
        responses.write(respond(Path(request["path"]), request["max_duration_s"]))
        responses.flush()


def _restrict() -> None:
    """Limit this process to reading files and writing to its pipes, within its share of memory."""
    resource.setrlimit(resource.RLIMIT_AS, (PROBE_BYTES, PROBE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


if __name__ == "__main__":
    _restrict()
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as responses:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no response
        serve(sys.stdin.buffer, responses)
