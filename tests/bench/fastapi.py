"""FastAPI with SQLModel beside the house, on the same SQLite file, and what calls cost either of them.

Sixteen keep-alive connections without TLS. The peer has two uvicorn workers and is called directly; the house is called
through its edge. The client has a part of the same cores; what it takes is told beside the rest.
"""

import os
import statistics
import subprocess
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.bench.house import cpu_seconds, free_port
from tests.bench.load import hammer
from tests.bench.table import NOTHING, row, spread

CONNECTIONS, EACH = 16, 60
PEERS = Path(__file__).parent / "peers"
PACKAGES = ("fastapi", "uvicorn[standard]", "sqlmodel")
WORKERS = "2"


class Peer(NamedTuple):
    """A running server of the other kind."""

    address: tuple[str, int]
    pid: int

    def cpu_seconds(self) -> float:
        """Return the CPU that it and its workers have used."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sum(cpu_seconds(int(pid)) for pid in (self.pid, *children))


@contextmanager
def peer(folder: Path, database: Path, app: str) -> Iterator[Peer]:
    """Run peers/APP.py on the database, in an environment of its own that is made if need be."""
    environment = folder / "peer"
    python = environment / "bin" / "python"
    if not python.exists():
        venv.create(environment, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    port = free_port()
    arguments = [python, "-m", "uvicorn", f"{app}:app", "--workers", WORKERS, "--port", str(port), "--no-access-log"]
    variables = os.environ | {"DATABASE_FILE": str(database)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(arguments, cwd=PEERS, env=variables, **quiet) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    httpx.get(f"http://127.0.0.1:{port}/docs")
                    break
                except httpx.TransportError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
            yield Peer(("127.0.0.1", port), process.pid)
        finally:
            process.terminate()


class Cost(NamedTuple):
    """What a run of requests came to."""

    rate: float  # a second
    cpu: float  # microseconds a request, of the servers; of a house with its edge
    client: float  # likewise, of the client


def cost(address: tuple[str, int], requests: Sequence[bytes], used: Callable[[], float], *, each: int = EACH) -> Cost:
    """Send requests on all connections and return what they cost."""
    before, own, began = used(), time.process_time(), time.perf_counter()
    hammer(address, None, requests, connections=CONNECTIONS, each=each)
    seconds, client, number = time.perf_counter() - began, time.process_time() - own, CONNECTIONS * each
    return Cost(number / seconds, (used() - before) / number * 1e6, client / number * 1e6)


def told(name: str, pairs: Sequence[tuple[Cost, Cost]], limit: float | None) -> None:
    """Print how two kinds of runs compare: rates, and CPU."""
    rates = spread([ours.rate / theirs.rate for ours, theirs in pairs], "{:.2f}")
    cpu = statistics.median(theirs.cpu / ours.cpu for ours, theirs in pairs)
    medians = (Cost(*map(statistics.median, zip(*costs, strict=True))) for costs in zip(*pairs, strict=True))
    ours, theirs = (
        f"{one.rate:.0f}/s, {one.cpu:.0f} us CPU a call, the client's {one.client:.0f} us" for one in medians
    )
    aim = NOTHING if limit is None else f"at least {limit}"
    row(name, ours, beside="FastAPI with SQLModel", there=theirs, ratio=f"{rates}, by CPU {cpu:.2f}", aim=aim)
