"""Whoever follows an organization's stats by their ids misses none, however many write at once."""

import asyncio

import pytest

from server.core import stats
from server.core.caller import Role
from server.core.stats import Asked, Effort
from server.core.stats_ids import ids, moment_after
from tests.core import scenes
from tests.core.measured import content

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


async def followed(store, caller, after):
    """What a follower learns by one look."""
    page = await store.read(stats.page, caller=caller, asked=Asked(after=after), effort=Effort.QUICK)
    return [stat.id for stat in page.stats]


@pytest.fixture
async def acme(store):
    return await scenes.organization(store, "acme", Role.MONARC_WRITE)


class TestOnPostgres:
    @pytest.fixture
    def engine(self) -> str:
        """PostgreSQL: on SQLite there is one writer at a time."""
        return "postgresql"

    async def test_a_follower_goes_past_no_stat_that_is_still_to_be_committed(self, store, elsewhere, acme, rows):
        stored, commit = asyncio.Event(), asyncio.Event()

        async def slowly(tx):
            made = await stats.create(tx, caller=acme, contents=[content()])
            stored.set()
            await commit.wait()
            return made

        slow = asyncio.create_task(store.write_guarded(slowly))
        await stored.wait()
        quick = asyncio.create_task(elsewhere.write_guarded(stats.create, caller=acme, contents=[content()]))
        async with asyncio.timeout(10):
            while not quick.done() and await rows(WAITING) == [(0,)]:
                pass
        seen = await followed(store, acme, None)
        commit.set()
        [first], [second] = await slow, await quick
        seen += await followed(store, acme, seen[-1] if seen else None)
        assert seen == [first.id, second.id]

    async def test_writers_of_different_organizations_do_not_wait_for_each_other(self, store, elsewhere, acme):
        other = await scenes.organization(store, "other", Role.MONARC_WRITE)

        async def meanwhile(tx):
            await stats.create(tx, caller=acme, contents=[content()])
            async with asyncio.timeout(10):
                return await elsewhere.write_guarded(stats.create, caller=other, contents=[content()])

        assert await store.write_guarded(meanwhile)


async def test_ids_grow_from_commit_to_commit_whatever_the_clocks_of_processes_say(store, elsewhere, acme, monkeypatch):
    made = []
    for number in range(6):
        writer, seconds = (store, 0) if number % 2 else (elsewhere, -3600 * number)
        monkeypatch.setattr(ids, "_time", 0)  # As in a process that has made none so far.
        made += await writer.write_guarded(scenes.later, seconds, stats.create, caller=acme, contents=[content()] * 2)
    assert [stat.id for stat in made] == sorted({stat.id for stat in made})
    assert await followed(store, acme, made[3].id) == [stat.id for stat in made[4:]]


def test_a_moment_after_an_id_has_greater_ids():
    now = 1_700_000_000_999_999
    first = ids.next(now)
    assert moment_after(first) >= now + 1
    assert ids.next(moment_after(first)) > first
