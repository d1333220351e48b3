"""Three workers and a client do whatever they may, in an order drawn by chance, while every step is held to the law."""

import random

from server.core import reports, tasks, work
from server.core.caller import Caller
from server.core.reports import Ending, Failure, Heard, Publication, Report
from server.core.tasks import LAW, TaskState
from server.core.work import LeaseName, Session, Wish
from server.store import results as stored_results
from server.store.engine import Tx
from tests.core.scenes import ACTION, histogram, sweep

STEPS = 300
WORKERS = 3
TASKS = 8


async def race(tx: Tx, *, seed: int, caller: Caller, worker: Caller) -> None:
    """Run one race to its end. The transaction's clock is moved on by hand."""
    one = Race(tx, random.Random(seed), caller, worker)  # noqa: S311 - a race that can be run again.
    await one.begin()
    moves = [one.grant, one.report, one.pass_time, one.come_back, one.cancel]
    for _ in range(STEPS):
        await one.chance.choices(moves, weights=[6, 10, 3, 1, 0.2])[0]()
        await one.observe()
    await one.finish()


class Race:
    def __init__(self, tx: Tx, chance: random.Random, caller: Caller, worker: Caller) -> None:
        self.tx, self.chance, self.caller, self.worker = tx, chance, caller, worker
        self.sessions: list[Session] = []
        self.states: dict[str, TaskState] = {}
        self.attempts: dict[str, int] = {}
        self.leases: list[tuple[Session, LeaseName]] = []  # all that ever were
        self.outcomes: list[str] = []  # tasks whose completion was accepted as news

    async def begin(self) -> None:
        for _ in range(TASKS):
            asked = {"service": ACTION[0], "action": ACTION[1], "parameters": {}, "request_id": ""}
            created = await tasks.create(self.tx, caller=self.caller, wanted=tasks.Wanted(**asked))
            self.states[created.id] = created.state
            self.attempts[created.id] = 0
        self.sessions = [await self.greet() for _ in range(WORKERS)]

    async def greet(self) -> Session:
        return (await work.greet(self.tx, caller=self.worker, worker="w", session_id="")).session

    async def task(self, task_id: str) -> tasks.Task:
        return await tasks.get(self.tx, caller=self.caller, task_id=task_id)

    async def grant(self) -> None:
        session = self.chance.choice(self.sessions)
        wish = Wish(session, frozenset({ACTION}), self.chance.randint(1, 3))
        granted = await work.grant(self.tx, wishes=[wish], ready={ACTION})
        for lease in granted.leases.get(session, []):
            assert lease.name.attempt == self.attempts[lease.name.task_id] + 1
            self.attempts[lease.name.task_id] += 1
            self.leases.append((session, lease.name))

    async def report(self) -> None:
        if not self.leases:
            return
        session, lease = self.chance.choice(self.leases[-12:])
        number = self.chance.randint(1, 3)
        outcomes = [Publication(number, histogram(1)), Ending.COMPLETED, Failure("x"), Ending.RETURNED]
        outcome = self.chance.choices(outcomes, weights=[5, 4, 2, 1])[0]
        before = await self.task(lease.task_id)
        [[answer]] = await reports.report(self.tx, heard=[Heard(session, [Report(lease, outcome)], {})])
        if answer is not None:
            assert await self.task(lease.task_id) == before, "a refused report changed something"
            return
        assert lease.attempt == self.attempts[lease.task_id], "a stale report was accepted"
        if outcome is Ending.COMPLETED and before.state is TaskState.RUNNING:
            self.outcomes.append(lease.task_id)

    async def pass_time(self) -> None:
        self.tx.now += self.chance.choice([1, 3, 4]) * work.SECOND
        await work.renew(self.tx, sessions=[session for session in self.sessions if self.chance.random() < 0.8])
        ended = await sweep(self.tx)
        self.sessions = [session for session in self.sessions if session.id not in ended]
        while len(self.sessions) < WORKERS:
            self.sessions.append(await self.greet())

    async def come_back(self) -> None:
        number = self.chance.randrange(WORKERS)
        session = self.sessions[number]
        await work.leave(self.tx, session=session)
        greeting = await work.greet(self.tx, caller=self.worker, worker="w", session_id=session.id)
        self.sessions[number] = greeting.session
        self.leases += [(greeting.session, held.name) for held in greeting.held]

    async def cancel(self) -> None:
        task_id = self.chance.choice(list(self.states))
        await tasks.cancel(self.tx, caller=self.caller, task_id=task_id)

    async def observe(self) -> None:
        for task_id, before in self.states.items():
            now = await self.task(task_id)
            if now.state is not before:
                # A task that was left and taken within one step was pending between.
                through = LAW[TaskState.PENDING] if TaskState.PENDING in LAW[before] else frozenset()
                assert now.state in LAW[before] | through, f"{before} became {now.state}"
                self.states[task_id] = now.state
            published = await stored_results.page(self.tx, task_id=task_id, before=None, most=10)
            assert len(published) == now.result_count

    async def finish(self) -> None:
        """Have one last worker do what is left, and count."""
        for _ in range(5):
            self.tx.now += 20 * work.SECOND  # All others are dead, and no back-off is longer.
            await sweep(self.tx)
            last = await self.greet()
            granted = await work.grant(self.tx, wishes=[Wish(last, frozenset({ACTION}), TASKS)], ready={ACTION})
            for lease in granted.leases.get(last, []):
                done = [Report(lease.name, Ending.COMPLETED)]
                assert await reports.report(self.tx, heard=[Heard(last, done, {})]) == [[None]]
                self.outcomes.append(lease.name.task_id)
        await self.observe()
        assert all(state.is_over for state in self.states.values()), "a task was lost"
        succeeded = [task_id for task_id, state in self.states.items() if state is TaskState.SUCCEEDED]
        assert sorted(self.outcomes) == sorted(succeeded), "not exactly one outcome was accepted"
