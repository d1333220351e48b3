"""Tells streams that the tasks they watch have changed: one look at the store for all watchers of one process."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from server.core import tasks
from server.core.errors import Stopping
from server.core.tasks import Progress
from server.store.engine import Store, StoreUnavailable

log = logging.getLogger("taskhouse.watching")

PAUSE_SECONDS = 0.02  # Between looks: in a busy house hints come without end.
MAX_WAIT_SECONDS = 1.0  # Hints only make it quick; looking is the truth.
MAX_LOOK = 500  # Tasks in one read: about a millisecond of the event loop.


class Watching:
    """Looks while somebody watches, and until `stopping` is set."""

    def __init__(self, store: Store, stopping: asyncio.Event) -> None:
        self._store = store
        self._stopping = stopping
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._seen: dict[str, Progress] = {}
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def task(self, task_id: str) -> Iterator["Watched"]:
        """Watch a task from now on."""
        wake = asyncio.Event()
        self._watchers.setdefault(task_id, set()).add(wake)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look_until_stopping())
            self._looking.add_done_callback(self._wake_all)
        try:
            yield Watched(wake, self._looking)
        finally:
            self._watchers[task_id].discard(wake)
            if not self._watchers[task_id]:
                del self._watchers[task_id]
                self._seen.pop(task_id, None)
            if not self._watchers:
                self._looking.cancel()
                self._looking = None

    async def _look_until_stopping(self) -> None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        looking = asyncio.ensure_future(self._look())
        try:
            await asyncio.wait([stopping, looking], return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                looking.result()
        finally:
            stopping.cancel()
            looking.cancel()

    async def _look(self) -> None:
        while True:
            generation = self._store.generation
            watched = list(self._watchers)
            try:
                for start in range(0, len(watched), MAX_LOOK):
                    some = watched[start : start + MAX_LOOK]
                    self._compare(await self._store.read(tasks.progress, task_ids=some))
            except StoreUnavailable as error:
                log.warning("watchers wait for the store: %s", error)
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                async with asyncio.timeout(MAX_WAIT_SECONDS):
                    await self._store.changed(generation)
            except TimeoutError:
                continue

    def _compare(self, found: list[Progress]) -> None:
        for one in found:
            if self._seen.get(one.id) != one and one.id in self._watchers:
                self._seen[one.id] = one
                for wake in self._watchers[one.id]:
                    wake.set()

    def _wake_all(self, _: object) -> None:
        for watchers in self._watchers.values():
            for wake in watchers:
                wake.set()


class Watched:
    """A task, for one stream that watches it."""

    def __init__(self, wake: asyncio.Event, looking: "asyncio.Task[None]") -> None:
        self._wake = wake
        self._looking = looking

    async def changed(self) -> None:
        """Wait for a change since the last wait, or the first look; it may also end without any. Raises Stopping."""
        await self._wake.wait()
        self._wake.clear()
        if self._looking.done():
            self._looking.result()  # Raises what nobody foresaw.
            raise Stopping
