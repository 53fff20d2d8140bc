"""The process that reads containers: requests on standard input, responses on standard output.

A question is a line of JSON. An answer is a line of JSON and behind it the bytes of the arrays that the line names:
nothing that an answer holds can be code.
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


def answer(path: Path, max_duration_s: float) -> bytes:
    """What to send for one file."""
    try:
        found = read_container(path, max_duration_s=max_duration_s)
    except Rejection as rejection:
        return _line(rejection=[rejection.stage, rejection.reason, rejection.detail])
    except (av.FFmpegError, OSError) as error:
        return _line(error=[error.errno, error.strerror])
    values = {field.name: getattr(found, field.name) for field in fields(Probe)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    scalars = {name: value for name, value in values.items() if name not in arrays}
    shapes = {name: value.shape for name, value in arrays.items()}
    return _line(probe=scalars, arrays=shapes) + b"".join(value.astype("<f8").tobytes() for value in arrays.values())


def _line(**parts: object) -> bytes:
    return json.dumps(parts).encode() + b"\n"


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there are no more questions: that is how the process learns that its parent is gone."""
    for line in questions:
        question = json.loads(line)
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = int(used.ru_utime + used.ru_stime + question["timeout_s"]) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, resource.RLIM_INFINITY))
        answers.write(answer(Path(question["path"]), question["max_duration_s"]))
        answers.flush()


def _restrict() -> None:
    """It may read files and write to its pipes, within limits."""
    resource.setrlimit(resource.RLIMIT_AS, (PROBE_BYTES, PROBE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


if __name__ == "__main__":
    _restrict()
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no answer
        serve(sys.stdin.buffer, answers)
