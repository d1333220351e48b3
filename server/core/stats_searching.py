"""Searches for stats, each with no more effort than it takes, and none so long that others suffer from it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from server.core import stats
from server.core.caller import Caller
from server.core.errors import SearchTooLong
from server.core.stats import Asked, Effort, Page
from server.core.stats_filters import Condition
from server.store.engine import Store

SEARCH_SECONDS = 10  # The edge ends calls of documented APIs after 15.
T = TypeVar("T")


class Purged(NamedTuple):
    """How many stats were deleted, and whether there may be more to delete."""

    deleted: int
    has_more: bool


class Searching:
    """Searches of one server process: at most one long one at a time for each organization."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns: dict[int | None, asyncio.Lock] = {}

    async def page(self, *, caller: Caller, asked: Asked) -> Page:
        """Return a page of the stats that the caller may read. Raises InvalidFields, SearchTooLong."""
        page = None
        if asked.is_short:
            page = await self._store.read(stats.page, caller=caller, asked=asked, effort=Effort.QUICK)
        if page is None and asked.is_led:
            page = await self._store.scan(stats.page, caller=caller, asked=asked, effort=Effort.LED)
        if page is None:
            page = await self._in_turn(
                caller,
                time.monotonic() + SEARCH_SECONDS,
                lambda: self._store.search(stats.page, caller=caller, asked=asked, effort=Effort.ANY),
            )
        assert page is not None  # noqa: S101 - such a search gives no half answers.
        return page

    async def purge(self, *, caller: Caller, conditions: tuple[Condition, ...]) -> Purged:
        """Delete the caller's own stats that the conditions hold for, as many as SEARCH_SECONDS are enough for.

        They are searched for without keeping anybody from writing, and deleted slice by slice, each committed.
        Raises SearchTooLong if none was found in time.
        """
        until = time.monotonic() + SEARCH_SECONDS
        count, after = 0, ""
        while True:
            try:
                ids = await self._in_turn(
                    caller,
                    until,
                    lambda after=after: self._store.search(  # type: ignore[misc]
                        stats.own, caller=caller, conditions=conditions, after=after
                    ),
                )
            except SearchTooLong:
                if not after:
                    raise
                return Purged(count, has_more=True)
            if ids:
                count += await self._store.write(stats.purge, caller=caller, conditions=conditions, ids=ids)
                after = ids[-1]
            if len(ids) < stats.SLICE:
                return Purged(count, has_more=False)

    async def _in_turn(self, caller: Caller, until: float, search: Callable[[], Awaitable[T]]) -> T:
        turn = self._turns.setdefault(caller.organization_id, asyncio.Lock())
        try:
            async with asyncio.timeout(until - time.monotonic()), turn:
                return await search()
        except TimeoutError as error:
            raise SearchTooLong(SEARCH_SECONDS) from error
