"""What tests of tasks, work and results begin with: organizations, workers, tasks, and a clock that can be set."""

import hashlib
import itertools
from dataclasses import dataclass

from server.core import credentials, organizations, reports, tasks, work
from server.core.caller import Caller, Role
from server.core.reports import Ending, Failure, Heard, Publication, Report
from server.core.results import Histogram
from server.core.work import LeaseName, Wish
from server.store.engine import Store, Tx

HOUSE = Caller("operator", Role.OPERATOR, None, "", "")
ACTION = ("icloud", "fetch-data")
_numbers = itertools.count(1)


async def organization(store: Store, name: str = "acme", role: Role = Role.TASK_RUNNER) -> Caller:
    """Create an organization and return a caller of it."""
    created = await store.write(organizations.create, name=name)
    return Caller("c", role, created.id, name, "")


async def worker(store: Store, token: str = "", kind: Role = Role.TOKEN_WRITE) -> Caller:
    """Register a token of the house and return its caller."""
    digest = hashlib.sha256((token or f"worker-{next(_numbers)}").encode()).digest()
    wanted = credentials.NewToken(organization="", kind=kind)
    created = await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)
    return Caller(created.id, Role.WORKER, None, "", "")


async def task(store: Store, caller: Caller, **changes) -> tasks.Task:
    """Create a task."""
    asked = {"service": ACTION[0], "action": ACTION[1], "parameters": {}, "request_id": ""} | changes
    return await store.write(tasks.create, caller=caller, wanted=tasks.Wanted(**asked))


async def later(tx: Tx, seconds: float, verb, **values):
    """Run a verb as if this much time had passed."""
    tx.now += round(seconds * 1_000_000)
    return await verb(tx, **values)


async def sweep(tx: Tx) -> list[str]:
    """End the sessions whose time is over, as soon as that is seen."""
    return await work.sweep(tx, seen=tx.now)


def histogram(*counts: int) -> str:
    """Return a histogram with these counts, as it is kept."""
    return Histogram([("height", str(number), count) for number, count in enumerate(counts)], []).to_json()


@dataclass
class Worker:
    """A session, driven by hand."""

    store: Store
    caller: Caller
    session: work.Session

    @classmethod
    async def seated(cls, store: Store, caller: Caller | None = None, session_id: str = "") -> "Worker":
        caller = caller or await worker(store)
        greeting = await store.write_guarded(work.greet, caller=caller, worker="w", session_id=session_id)
        return cls(store, caller, greeting.session)

    async def lease(self, most: int = 10, after: float = 0) -> list[LeaseName]:
        wish = Wish(self.session, frozenset({ACTION}), most)
        granted = await self.store.write_guarded(later, after, work.grant, wishes=[wish], ready={ACTION})
        return [lease.name for lease in granted.leases.get(self.session, [])]

    async def report(self, *said: Report) -> list[str]:
        """Report, and return the names of the refusals, "" for what is accepted."""
        [answers] = await self.store.write_guarded(reports.report, heard=[Heard(self.session, said, {})])
        return [type(answer).__name__ if answer else "" for answer in answers]

    async def publish(self, lease: LeaseName, number: int = 1, *counts: int) -> str:
        return (await self.report(Report(lease, Publication(number, histogram(*counts)))))[0]

    async def complete(self, lease: LeaseName) -> str:
        return (await self.report(Report(lease, Ending.COMPLETED)))[0]

    async def hand_back(self, lease: LeaseName) -> str:
        return (await self.report(Report(lease, Ending.RETURNED)))[0]

    async def fail(self, lease: LeaseName, error: str = "no", *, non_retryable: bool = False) -> str:
        return (await self.report(Report(lease, Failure(error, non_retryable))))[0]
