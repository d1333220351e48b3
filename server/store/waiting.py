"""What waits for the one writer of a process of the embedded engine, and what of it is committed together."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any, NamedTuple

from server.store.engine import Verb

MAX_BATCH = 100  # Verbs committed together.
BATCH_SECONDS = 0.05  # After so long none is added: who was run waits for the commit, and so do other processes.


class Job(NamedTuple):
    """A verb to be run, and where its outcome goes."""

    verb: Verb[Any, Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: "asyncio.Future[Any]"
    soon: bool = False


class Waiting:
    """Jobs in the order in which they came, but those that are to be done soon first.

    The event loop puts in and the writer's thread takes out.
    """

    def __init__(self) -> None:
        self._arrivals: SimpleQueue[Job | None] = SimpleQueue()
        self._soon: deque[Job] = deque()
        self._rest: deque[Job] = deque()
        self._closed = False

    def put(self, job: Job) -> None:
        """Add a job."""
        self._arrivals.put(job)

    def close(self) -> None:
        """Let the writer end when it has done all."""
        self._arrivals.put(None)

    def wait(self) -> bool:
        """Wait until there is a job, and say so; False once there will be none."""
        if not self._soon and not self._rest and not self._closed:
            self._sort(self._arrivals.get())
        self._take_in()
        return bool(self._soon or self._rest or not self._closed)

    def batch(self) -> Iterator[Job]:
        """Yield what to commit together: all that is to be soon, also if it comes meanwhile, before the rest.

        Of the rest one is among it at least, so that nobody waits for ever.
        """
        until = time.monotonic() + BATCH_SECONDS
        left_out = True
        for _ in range(MAX_BATCH):
            self._take_in()
            queue = self._soon or self._rest
            if not queue:
                return
            job = queue.popleft()
            if not job.answer.cancelled():
                left_out = left_out and queue is self._soon
                yield job
            if time.monotonic() >= until:
                break
        while left_out and self._rest:
            job = self._rest.popleft()
            if not job.answer.cancelled():
                left_out = False
                yield job

    def _take_in(self) -> None:
        while not self._arrivals.empty():
            self._sort(self._arrivals.get())

    def _sort(self, job: Job | None) -> None:
        if job is None:
            self._closed = True
        else:
            (self._soon if job.soon else self._rest).append(job)
