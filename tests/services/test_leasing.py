"""Leasing, when looking and doing disagree."""

import asyncio

import pytest

from server.core import work
from server.core.work import Granted, Lease, LeaseName, Look, Session
from server.services.leasing import Leasing, Seat

SESSION = Session("s", 1)
READY = frozenset({("icloud", "fetch-data")})
LEASE = Lease(LeaseName("t", 1), "icloud", "fetch-data", {})


class Store:
    """A store that answers as it is told to."""

    def __init__(self, look: Look, **answers: object) -> None:
        self._look, self._answers = look, answers

    async def read(self, verb, **_: object) -> Look:
        assert verb is work.look
        return self._look

    async def write_guarded(self, verb, **_: object) -> object:
        return self._answers[verb.__name__]


def look(**seen: object) -> Look:
    return Look(**{"now": 0, "ready": frozenset(), "revoked": False, "expired": False, "next_time": None, **seen})


async def wait_after(store: Store) -> float | None:
    """Return how long leasing waits after it has attended to this."""
    leasing = Leasing(store, asyncio.Event())
    leasing._seats[SESSION] = Seat(SESSION, frozenset({("icloud", "fetch-data")}), 5, asyncio.Event())
    return await leasing._attend()


@pytest.mark.parametrize(
    "store",
    [
        Store(look(ready=READY), grant=Granted({}, [])),
        Store(look(expired=True), sweep=[]),
        Store(look(revoked=True), take_revoked={}),
    ],
    ids=["ready", "expired", "revoked"],
)
async def test_what_could_not_be_done_is_not_tried_again_without_a_pause(store):
    assert 0 < await wait_after(store) < 1


@pytest.mark.parametrize(
    "store",
    [
        Store(look(ready=READY), grant=Granted({SESSION: [LEASE]}, [])),
        Store(look(ready=READY), grant=Granted({}, [SESSION])),
        Store(look(expired=True), sweep=["s"]),
        Store(look(revoked=True), take_revoked={"s": [LEASE.name]}),
    ],
    ids=["granted", "lost", "expired", "revoked"],
)
async def test_after_something_was_done_it_looks_again_at_once(store):
    assert await wait_after(store) == 0
