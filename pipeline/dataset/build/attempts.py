"""Files that record which span a worker is working on, so that a span that keeps killing workers can be rejected."""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from pipeline import storage
from pipeline.records import Span

FOLDER = "attempts"
MAX_CRASHES = 2  # of workers on one span, before the span is rejected as the cause


@dataclass(frozen=True, slots=True)
class Attempt:
    """One worker's attempt at one shard."""

    dataset_uri: str
    shard: str
    number: int  # from 1
    run: str  # of the driver that submitted it

    def mark(self, span: Span | None) -> None:
        """Write which span is worked on; None once nothing but the finished tar is left to do."""
        storage.publish_bytes(_mark(self.run, span), _uri(self.dataset_uri, self.shard, self.number))

    def crashes(self) -> Counter[str]:
        """Count the workers that died on each span, by `span_name`.

        Only attempts of this driver process count: a driver that was killed takes its workers with it, whatever they
        were doing.
        Marks that are missing count for nothing: another run has committed the dataset meanwhile, and this one will
        find the same bytes there.
        """
        marks = []
        for number in range(1, self.number):
            with suppress(FileNotFoundError):
                marks.append(json.loads(storage.read_text(_uri(self.dataset_uri, self.shard, number))))
        return Counter(mark["span"] for mark in marks if mark["run"] == self.run and mark["span"])


def begin(dataset_uri: str, shard: str, run: str) -> Attempt:
    """Write the mark that a worker has begun a shard, under the first number that is free."""
    mark = _mark(run, None)
    uris = ((n, _uri(dataset_uri, shard, n)) for n in itertools.count(1))
    number = next(n for n, uri in uris if storage.create_if_absent(mark, uri))
    return Attempt(dataset_uri, shard, number, run)


def delete_marks(dataset_uri: str) -> None:
    """Remove all marks of a finished dataset."""
    for mark in storage.list_files(storage.join(dataset_uri, FOLDER)):
        storage.delete(mark.uri)


def span_name(span: Span) -> str:
    """The name of a span in marks."""
    return f"{span.video.key}@{span.start_frame}"


def _mark(run: str, span: Span | None) -> bytes:
    worker = {"host": socket.gethostname(), "pid": os.getpid(), "run": run}
    return json.dumps({**worker, "span": span_name(span) if span else ""}).encode()


def _uri(dataset_uri: str, shard: str, number: int) -> str:
    return storage.join(dataset_uri, FOLDER, f"{shard}-{number}.json")
