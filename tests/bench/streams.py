"""What listeners cost a server process while they are idle, and how soon results reach them."""

import asyncio
import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from server.core import accounts, credentials, organizations
from server.core.caller import Caller, Role
from server.store.opening import open_store
from tests import declared
from tests.bench.house import COMMAND, House, cpu_seconds, resident_mb, running

IDLE, IDLE_SECONDS = 1000, 10
LISTENERS, RATE, SECONDS = 100, 200, 10
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
    connections = [await asyncio.open_connection(*house.http) for _ in range(8)]
    began = time.monotonic()
    form = "service=icloud&action=fetch-data&account=bench"

    async def one(number: int) -> None:
        reader, writer = connections[number]
        for task in range(number, RATE * SECONDS, len(connections)):
            await asyncio.sleep(began + task / RATE - time.monotonic())
            token = listeners[task % len(listeners)].token
            writer.write(
                f"POST /submit-task/ HTTP/1.1\r\nhost: bench\r\nauthorization: Token {token}\r\n"
                f"content-type: application/x-www-form-urlencoded\r\ncontent-length: {len(form)}\r\n\r\n{form}".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())

    await asyncio.gather(*map(one, range(len(connections))))


async def measure(house: House, folder: Path) -> None:
    """Print what listeners cost, and the ages of results."""
    [server] = house.processes()["server"]
    listeners = await tokens(house, IDLE)
    before = resident_mb(server)
    streams = await listening(house, listeners)
    await asyncio.sleep(2)
    memory, cpu = resident_mb(server) - before, cpu_seconds(server)
    await asyncio.sleep(IDLE_SECONDS)
    cpu = (cpu_seconds(server) - cpu) / IDLE_SECONDS
    print(f"{IDLE} idle listeners: {memory * 1024 / IDLE:.0f} KB each, {cpu * 100:.1f} % of a CPU together")
    for stream in streams[LISTENERS:]:
        stream.cancel()
    await asyncio.wait(streams[LISTENERS:])
    (folder / "bench_streams.py").write_text(MODULE)
    command = [COMMAND, "work", "--module", "bench_streams:worker", "--capacity", "100", "--data", house.data]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=sys.stderr) as worker:  # noqa: ASYNC220 - nothing else is to be done meanwhile.
        await asyncio.to_thread(worker.stdout.readline)
        await submit(house, listeners[:LISTENERS])
        wanted = RATE * SECONDS
        for _ in range(100):
            if sum(len(one.seconds) for one in listeners) >= wanted:
                break
            await asyncio.sleep(0.1)
        worker.kill()
    ages = sorted(age for one in listeners for age in one.seconds)
    p99 = ages[len(ages) * 99 // 100] * 1000
    print(
        f"{len(ages)} of {wanted} results at {RATE}/s to {LISTENERS} listeners: from publication to frame"
        f" median {statistics.median(ages) * 1000:.0f} ms, p99 {p99:.0f} ms"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary, running() as running_house:
        running_house.run("catalogue", "apply", declared.write(Path(temporary)))
        running_house.run("orgs", "create", "bench")
        asyncio.run(measure(running_house, Path(temporary)))
