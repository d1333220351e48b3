"""What listeners cost a server process while they are idle, and how soon results reach them."""

import asyncio
import hashlib
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from server.core import accounts, credentials, organizations
from server.core.caller import Caller, Role
from server.store.opening import open_store
from tests.bench.house import House, cpu_seconds, kit, resident_mb, running, working
from tests.bench.load import asking, request_of
from tests.bench.table import row

IDLE, IDLE_SECONDS, SETTLE_SECONDS = 1000, 15, 2
LISTENERS, RATE, SECONDS = 100, 200, 10
CONNECTIONS = 8
HOUSE = Caller("bench", Role.OPERATOR, None, "", "")
MODULE = """
import time

from server.worker.kit import Result, Worker

worker = Worker(service="icloud")


@worker.action("fetch-data")
def fetch_data(task):
    return Result.json({"published": time.time()})
"""


@dataclass
class Listener:
    """A token, and what came on its stream."""

    id: str
    token: str
    seconds: list[float] = field(default_factory=list)

    async def listen(self, house: House, begun: asyncio.Semaphore) -> None:
        """Read frames until cancelled, and note how old each result is."""
        reader, writer = await asyncio.open_connection(*house.http)
        call = f"GET /stream/?stream={self.id} HTTP/1.1\r\nhost: bench\r\nauthorization: Token {self.token}\r\n\r\n"
        writer.write(call.encode())
        while True:
            line = await reader.readline()
            if b"has begun" in line:
                begun.release()
            elif line.startswith(b'{"published"'):
                self.seconds.append(time.time() - orjson.loads(line)["published"])
            elif not line:
                raise RuntimeError("a stream has ended")


async def tokens(house: House, count: int) -> list[Listener]:
    """Make tokens of an organization with an account."""
    store = await open_store(house.data / "taskhouse.db", house.data)
    made = []
    found = await store.read(organizations.page, caller=HOUSE, page_size=1, page_token="")
    for number in range(count):
        secret = f"bench-{number}"
        wanted = credentials.NewToken(organization=found.items[0].name, kind=Role.ASAPI_CHANNEL)
        digest = hashlib.sha256(secret.encode()).digest()
        created = await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)
        made.append(Listener(created.id, secret))
    owner = Caller(made[0].id, Role.ASAPI_CHANNEL, found.items[0].id, found.items[0].name, "")
    await store.write(accounts.register, caller=owner, service="icloud", username="bench")
    await store.close()
    return made


async def listening(house: House, listeners: list[Listener]) -> list["asyncio.Task[None]"]:
    """Open the streams."""
    begun = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(one.listen(house, begun)) for one in listeners]
    for _ in listeners:
        await asyncio.wait_for(begun.acquire(), 60)
    return tasks


async def submit(house: House, listeners: list[Listener]) -> None:
    """Submit tasks at the rate, for all listeners in turn, over a few connections."""
    began = time.monotonic()

    async def some(first: int) -> None:
        async with asking(house.http) as ask:
            for task in range(first, RATE * SECONDS, CONNECTIONS):
                await asyncio.sleep(began + task / RATE - time.monotonic())
                await ask(submission(listeners[task % len(listeners)].token))

    await asyncio.gather(*map(some, range(CONNECTIONS)))


def submission(token: str) -> bytes:
    """Return the request that submits a task."""
    headers = (f"authorization: Token {token}", "content-type: application/x-www-form-urlencoded")
    return request_of("POST", "/submit-task/", headers=headers, body=b"service=icloud&action=fetch-data&account=bench")


async def idle_cpu(server: int) -> float:
    """Return what share of a CPU a process takes."""
    await asyncio.sleep(SETTLE_SECONDS)
    before = cpu_seconds(server)
    await asyncio.sleep(IDLE_SECONDS)
    return (cpu_seconds(server) - before) / IDLE_SECONDS


async def measured(house: House, folder: Path) -> None:
    """Print what listeners cost, and the ages of results."""
    [server] = house.processes()["server"]
    listeners = await tokens(house, IDLE)
    without, before = await idle_cpu(server), resident_mb(server)
    streams = await listening(house, listeners)
    cpu, memory = await idle_cpu(server), resident_mb(server) - before
    what = f"{IDLE:,} idle listeners on one server process"
    row(what, f"{memory * 1024 / IDLE:.0f} KB each", aim="at most 60 KB")
    beside = f"{without * 100:.1f} % of a CPU"
    row(what, f"{cpu * 100:.1f} % of a CPU", beside="without listeners", there=beside, aim="no measurable CPU")
    for stream in streams[LISTENERS:]:
        stream.cancel()
    await asyncio.wait(streams[LISTENERS:])
    with working(kit(MODULE, folder, "--capacity", "100", "--data", house.data), folder):
        await submit(house, listeners[:LISTENERS])
        wanted = RATE * SECONDS
        for _ in range(100):
            if sum(len(one.seconds) for one in listeners) >= wanted:
                break
            await asyncio.sleep(0.1)
    ages = sorted(age for one in listeners for age in one.seconds)
    p99 = ages[len(ages) * 99 // 100] * 1000
    row(
        f"{len(ages):,} of {wanted:,} results, {RATE}/s to {LISTENERS} listeners: from publication to frame",
        f"p99 {p99:.0f} ms, median {statistics.median(ages) * 1000:.0f} ms",
        aim="at most 250 ms",
    )


def measure(folder: Path) -> None:
    """Print what listeners cost, and the ages of results."""
    with running() as house:
        house.prepare(folder)
        asyncio.run(measured(house, folder))
