"""Admission: how many unfinished tasks an organization may have.

Counting takes as long as there are such tasks, and would make PostgreSQL's transactions collide if it were part of
them. So it is done before, and seldom: of what is left a process gives itself a hundredth, which many processes can do
at once without going over the limit, and counts again when that is used up.
"""

from server.core import tasks
from server.store.engine import Store

SHARE = 100


class Admission:
    """The limit, as one server process holds organizations to it."""

    def __init__(self, store: Store, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._shares: dict[int, int] = {}  # how many tasks an organization may still create before it is counted again

    async def is_full(self, organization_id: int, count: int = 1) -> bool:
        """Say whether this many tasks more would be too many; if not, they are expected to be created now."""
        share = self._shares.get(organization_id, 0)
        if share < count:
            unfinished = await self._store.scan(
                tasks.count_unfinished, organization_id=organization_id, most=self._limit
            )
            left = self._limit - unfinished
            if left < count:
                return True
            share = max(left // SHARE, count)
        self._shares[organization_id] = share - count
        return False
