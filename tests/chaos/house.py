"""A house whose parts run one by one, so that each can be killed and started again; and clients that never give up."""

import asyncio
import itertools
import json
import os
import signal
import ssl
import textwrap
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx

from server.cli.serve import READY
from server.store.address import DatabaseAddress, PostgresAddress
from tests import declared
from tests.bench.house import free_port
from tests.chaos.nursery import Nursery

PATIENCE_SECONDS = 30.0
STEP_SECONDS = 0.01
DATASETS = "datasets:\n  - name: notes\n    columns:\n      - {name: note, type: text, nullable: false}\n"
DEEDS = '''
    import os
    import time
    from pathlib import Path

    from server.worker.kit import Result, Task, Worker

    worker = Worker(service="test")


    @worker.action("count")
    def count(task: Task):
        for number in (1, 2):
            time.sleep(0.005)
            yield Result.histogram([("attempt", str(task.attempt), number)])


    @worker.action("wait")
    def wait(task: Task) -> Result:
        """Wait for a file; then tell which attempt it is."""
        while not Path(task.parameters["file"]).exists():
            time.sleep(0.01)
        return Result.histogram([("attempt", str(task.attempt), 5)])


    @worker.action("die")
    def die(task: Task) -> Result:
        os._exit(9)


    @worker.action("swell")
    def swell(task: Task) -> Result:
        return Result.histogram([("x" * 200, str(number), 5) for number in range(3000)])
'''
USERS, ROWS = ("a", "b"), 2  # of each upload
BATCH = 3  # Tasks that are created together.


@dataclass(eq=False)
class Part:
    """A process of the house."""

    kind: str
    arguments: tuple[str, ...]
    pid: int = 0
    kills: int = 0


class House:
    """Two servers, a worker on their sockets, one that comes over TLS with a key of the house, and Envoy."""

    def __init__(self, nursery: Nursery, folder: Path, address: DatabaseAddress) -> None:
        self._nursery = nursery
        self._folder = folder  # of the house's data, too
        self.address = address
        (folder / "deeds.py").write_text(textwrap.dedent(DEEDS))
        (folder / "datasets.yaml").write_text(DATASETS)
        self.https = free_port()
        self.url = f"https://localhost:{self.https}"
        self._environment = {
            "TASKHOUSE_DATA": str(folder),
            "TASKHOUSE_HTTPS": f"127.0.0.1:{self.https}",
            "TASKHOUSE_HTTP": "off",
            "TASKHOUSE_PROCESSES": "2",
            "TASKHOUSE_DRAIN_SECONDS": "0.5",
        }
        if isinstance(address, PostgresAddress):
            self._environment["TASKHOUSE_DATABASE"] = address.url
        working = ("work", "--module", "deeds:worker")
        remote = ("--server", f"https://localhost:{self.https}", "--key", "worker.pem", "--ca", "ca.pem")
        self.parts = [
            *(Part("server", ("serve", "--number", str(number))) for number in range(2)),
            Part("worker", working),
            Part("worker", (*working, *remote)),
            Part("edge", ("edge",)),
        ]
        *self.servers, self.near, self.far, self.edge = self.parts

    def set_up(self) -> None:
        """Make the organization `acme` with a dataset, and the keys of the clients and of the remote worker."""
        self.run("catalogue", "apply", str(declared.write(self._folder)))
        self.run("orgs", "create", "acme")
        self.run("datasets", "apply", "datasets.yaml", "--org", "acme")
        for kind in ("upload_any", "task_runner"):
            self.run("keys", "issue", "--org", "acme", "--kind", kind, "--out", f"{kind}.pem")
        self.run("keys", "issue", "--house", "--kind", "worker", "--out", "worker.pem")

    def run(self, *arguments: str) -> str:
        """Run a command to its end, and return the last line that it prints."""
        log = self._folder / "commands.log"
        assert self._nursery.wait(self._start(arguments, log)) == 0, log.read_text()
        return log.read_text().rstrip().rpartition("\n")[2]

    def start(self, part: Part) -> None:
        """Start a part."""
        part.pid = self._start(part.arguments, self._log(part))

    def start_server(self, part: Part) -> None:
        """Start a server, and return when it answers."""
        log = self._log(part)
        log.touch()
        before = log.read_text().count(READY)
        self.start(part)
        end = time.monotonic() + PATIENCE_SECONDS
        while log.read_text().count(READY) == before:
            assert time.monotonic() < end, log.read_text()
            time.sleep(STEP_SECONDS)

    def _start(self, arguments: tuple[str, ...], log: Path) -> int:
        return self._nursery.start(*arguments, environment=self._environment, folder=self._folder, log=log)

    def kill(self, part: Part) -> None:
        """Kill a part as the system does when memory is short."""
        code = self.end(part, signal.SIGKILL)
        assert code == -signal.SIGKILL, f"{part.kind} had ended by itself with {code}: {self._log(part).read_text()}"
        part.kills += 1

    def end(self, part: Part, number: signal.Signals) -> int:
        """Send a part a signal that ends it, and return its exit code."""
        os.kill(part.pid, number)
        return self.exit_code(part)

    def exit_code(self, part: Part) -> int:
        """Wait for the end of a part and return its exit code."""
        pid, part.pid = part.pid, 0
        return self._nursery.wait(pid)

    def told(self) -> str:
        """Return the end of what each part has said, and what it is just doing."""
        for part in self.parts:
            if part.pid and part.kind != "edge":
                os.kill(part.pid, signal.SIGQUIT)
        time.sleep(1)  # Only where a test has failed.
        logs = {part: self._log(part) for part in self.parts if self._log(part).exists()}
        return "\n".join(f"{part.kind} {part.pid}: {log.read_text()[-3000:]}" for part, log in logs.items())

    def _log(self, part: Part) -> Path:
        return self._folder / f"{part.kind}-{self.parts.index(part)}.log"

    def client(self, kind: str) -> httpx.AsyncClient:
        """Return a client with a key of `acme`."""
        context = self.context()
        context.load_cert_chain(self._folder / f"{kind}.pem")
        return httpx.AsyncClient(base_url=self.url, verify=context, timeout=5, trust_env=False)

    def context(self) -> ssl.SSLContext:
        """Return a TLS context that trusts the house."""
        return ssl.create_default_context(cafile=str(self._folder / "ca.pem"))

    def channel(self, kind: str) -> grpc.Channel:
        """Return a channel with a key of `acme`."""
        key = (self._folder / f"{kind}.pem").read_bytes()
        credentials = grpc.ssl_channel_credentials((self._folder / "ca.pem").read_bytes(), key, key)
        return grpc.secure_channel(f"localhost:{self.https}", credentials)

    def close(self) -> None:
        """End every part."""
        for part in self.parts:
            if part.pid:
                self.end(part, signal.SIGKILL)


@dataclass
class Uploader:
    """Uploads of two users each, of which it is known which were acknowledged."""

    client: httpx.AsyncClient
    sent: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)

    async def run(self) -> None:
        for number in itertools.count():
            upload = f"upload-{number}"
            rows = {user: {"notes": [{"note": f"{upload}-{row}"} for row in range(ROWS)]} for user in USERS}
            body = {f"{upload}-{user}": data for user, data in rows.items()}
            self.sent.append(upload)
            if await post(self.client, "/bulk_insert", body) is not None:
                self.acknowledged.append(upload)


@dataclass
class Asker:
    """Creates tasks, and asks again under the same request ids until it has an answer."""

    client: httpx.AsyncClient
    acknowledged: dict[str, str] = field(default_factory=dict)  # task ids by request ids

    async def run(self) -> None:
        task = {"service": "test", "action": "count", "parameters": {}}
        while True:
            requests = [str(uuid.uuid4()) for _ in range(BATCH)]
            body = {"requests": [{"task": task, "request_id": request} for request in requests]}
            answer = None
            while answer is None:
                answer = await post(self.client, "/v1/tasks:batchCreate", body)
            self.acknowledged |= zip(requests, (one["id"] for one in answer["tasks"]), strict=True)


async def until(holds: Callable[[], Awaitable[object]], what: str) -> None:
    """Return as soon as it holds."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not await holds():
        assert time.monotonic() < end, f"waited in vain for {what}"
        await asyncio.sleep(STEP_SECONDS)


async def post(client: httpx.AsyncClient, path: str, body: object) -> dict | None:
    """Return the answer of success; None if it cannot be known whether it was done."""
    try:
        answer = await client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    except httpx.TransportError:
        return None
    finally:
        await asyncio.sleep(STEP_SECONDS)  # A house under load, not a house at its limit.
    if answer.status_code in (502, 503, 504):
        return None
    assert answer.status_code == 200, answer.text
    return answer.json()
