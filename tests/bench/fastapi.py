"""FastAPI with SQLModel beside the house, on the same SQLite file, and what calls cost either of them.

Sixteen keep-alive connections without TLS. The peer has two uvicorn workers and is called directly; the house is called
through its edge.
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

CONNECTIONS, EACH = 16, 60
PEERS = Path(__file__).parent / "peers"
PACKAGES = ("fastapi", "uvicorn[standard]", "sqlmodel")


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
    arguments = [python, "-m", "uvicorn", f"{app}:app", "--workers", "2", "--port", str(port), "--no-access-log"]
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
    cpu: float  # microseconds a request, of the servers


def cost(address: tuple[str, int], requests: Sequence[bytes], used: Callable[[], float], *, each: int = EACH) -> Cost:
    """Send requests on all connections and return what they cost."""
    before, began = used(), time.perf_counter()
    hammer(address, None, requests, connections=CONNECTIONS, each=each)
    seconds, number = time.perf_counter() - began, CONNECTIONS * each
    return Cost(number / seconds, (used() - before) / number * 1e6)


def told(name: str, pairs: Sequence[tuple[Cost, Cost]], limit: float | None) -> str:
    """Say how two kinds of runs compare: rates, and CPU."""
    rates = sorted(ours.rate / theirs.rate for ours, theirs in pairs)
    cpus = sorted(theirs.cpu / ours.cpu for ours, theirs in pairs)
    ours, theirs = (
        f"{statistics.median(each.rate for each in costs):.0f}/s,"
        f" {statistics.median(each.cpu for each in costs):.0f} us CPU a call"
        for costs in zip(*pairs, strict=True)
    )
    return (
        f"{name}: {ours}; FastAPI {theirs}; ratio of rates median {statistics.median(rates):.2f}"
        f" (min {rates[0]:.2f}, max {rates[-1]:.2f}), of CPU {statistics.median(cpus):.2f}"
        f"{'' if limit is None else f', limit {limit}'}"
    )
