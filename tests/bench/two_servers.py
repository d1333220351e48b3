"""What two server processes carry against one, both houses on TLS with 16 keep-alive connections a process, in turns.

Servers are what bounds a house: Envoy takes a third of a call's CPU, and has threads of its own. A house carries as
much as its busiest server process has time for, so its capacity is calls by CPU second of that process. On a machine of
two cores, which the load generator and Envoy share, this tells what more cores would show; what the calls took here is
printed beside it. It counts in what two processes cost each other (one database, one write lock) where that is CPU.
Writes wait for the disk in turn, so two processes gain less in calls than in CPU: that is shown, and no claim of ours.
"""

import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import orjson

from tests.bench.house import House, cpu_seconds, running
from tests.bench.load import hammer, request_of
from tests.bench.table import NOTHING, compared

CONNECTIONS, EACH, PAIRS = 16, 100, 7


class Carried(NamedTuple):
    """What a house did in one turn."""

    capacity: float  # calls by CPU second of the busiest server process
    seen: float  # calls a second


def carried(house: House, requests: list[bytes]) -> Carried:
    """Send the requests in turn and tell what that cost the servers."""
    servers = house.processes()["server"]
    connections = CONNECTIONS * len(servers)
    before, began = [cpu_seconds(pid) for pid in servers], time.perf_counter()
    hammer(house.https, house.context(), requests, connections=connections, each=EACH)
    took = time.perf_counter() - began
    busiest = max(cpu_seconds(pid) - spent for pid, spent in zip(servers, before, strict=True))
    return Carried(connections * EACH / busiest, connections * EACH / took)


def prepared(house: House) -> dict[str, list[bytes]]:
    """Return what is asked of a house: reads of its tasks, and new ones that nobody works at."""
    house.prepare(house.data)
    token = house.token("grpc", "--access", "write")
    headers = (f"authorization: Bearer {token}",)
    body = orjson.dumps({"service": "bench", "action": "none", "parameters": {"a": "b"}})
    with httpx.Client(base_url=f"http://127.0.0.1:{house.http[1]}") as client:
        credential = {"authorization": f"Bearer {token}"}
        tasks = [client.post("/v1/tasks", content=body, headers=credential).json()["id"] for _ in range(100)]
    return {
        "reads of a task": [request_of("GET", f"/v1/tasks/{task}", headers=headers) for task in tasks],
        "new tasks": [request_of("POST", "/v1/tasks", body=body, headers=headers)],
    }


def measure(folder: Path) -> None:
    """Print the capacity of both houses, pair by pair, and their ratio."""
    with ExitStack() as houses:
        one, two = (houses.enter_context(running(folder / f"servers-{n}", "--processes", str(n))) for n in (1, 2))
        asked_of_one, asked_of_two = prepared(one), prepared(two)
        for name, aim in (("reads of a task", "at least 1.7"), ("new tasks", NOTHING)):
            carried(one, asked_of_one[name]), carried(two, asked_of_two[name])
            pairs = [(carried(one, asked_of_one[name]), carried(two, asked_of_two[name])) for _ in range(PAIRS)]
            capacities = [(both.capacity, alone.capacity) for alone, both in pairs]
            seen = [statistics.median(one.seen for one in some) for some in zip(*pairs, strict=True)]
            compared(
                f"two server processes, {name}",
                capacities,
                "{:.0f} calls by CPU second of the busiest process",
                beside="one process",
                aim=aim,
                seen=f" ({seen[1]:.0f} calls/s, of one {seen[0]:.0f}, Envoy and clients on the same cores)",
            )
