"""Tells streams that what they watch has changed: one look at the store for all watchers of one process."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from server.core.errors import Stopping
from server.store.engine import Store, StoreUnavailable

log = logging.getLogger("taskhouse.watching")

PAUSE_SECONDS = 0.02  # Between looks: in a busy house hints come without end.
MAX_WAIT_SECONDS = 1.0  # Hints only make it quick; looking is the truth.
MAX_LOOK = 500  # Keys in one read: about a millisecond of the event loop.

Key = TypeVar("Key")


class Watching(Generic[Key]):
    """Looks while somebody watches, and until `stopping` is set.

    `look` returns something of each of up to MAX_LOOK keys that is another whenever whoever watches it is to be told.
    """

    def __init__(
        self, store: Store, stopping: asyncio.Event, look: Callable[[Sequence[Key]], Awaitable[Mapping[Key, object]]]
    ) -> None:
        self._store = store
        self._stopping = stopping
        self._look_at = look
        self._watchers: dict[Key, set[asyncio.Event]] = {}
        self._seen: dict[Key, object] = {}
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def watched(self, key: Key) -> Iterator["Watched"]:
        """Watch something from now on."""
        wake = asyncio.Event()
        self._watchers.setdefault(key, set()).add(wake)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look_until_stopping())
            self._looking.add_done_callback(self._wake_all)
        try:
            yield Watched(wake, self._looking)
        finally:
            self._watchers[key].discard(wake)
            if not self._watchers[key]:
                del self._watchers[key]
                self._seen.pop(key, None)
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
                    self._compare(await self._look_at(some))
            except StoreUnavailable as error:
                log.warning("watchers wait for the store: %s", error)
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                async with asyncio.timeout(MAX_WAIT_SECONDS):
                    await self._store.changed(generation)
            except TimeoutError:
                continue

    def _compare(self, found: Mapping[Key, object]) -> None:
        for key, seen in found.items():
            if self._seen.get(key) != seen and key in self._watchers:
                self._seen[key] = seen
                for wake in self._watchers[key]:
                    wake.set()

    def _wake_all(self, _: object) -> None:
        for watchers in self._watchers.values():
            for wake in watchers:
                wake.set()


class Watched:
    """Something that one stream watches."""

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
