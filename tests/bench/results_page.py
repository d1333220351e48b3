"""A results page of ten histograms against an empty rpc, both through Envoy with TLS on 16 keep-alive connections.

Asked in four ways: with 2 buckets a result, as the documented page has, and with 8; one page again and again, as a
script that polls does, and more pages than a server keeps, so that each is read and made anew.
"""

import time
from pathlib import Path

import httpx

from tests.bench.house import House, kit, resident_mb, running, working
from tests.bench.load import hammer, request_of
from tests.bench.table import compared, row

CONNECTIONS, EACH, PAIRS = 16, 150, 7
TASKS = 160  # of three pages each
BUCKETS = (2, 8)
MODULE = """
from server.worker.kit import Result, Worker

worker = Worker(service="bench")


@worker.action("publish")
def publish(task):
    for number in range(30):
        buckets = [("height", str(140 + 10 * i), 5 * (i + number + 1)) for i in range(int(task.parameters["buckets"]))]
        yield Result.histogram(buckets, [])
"""


def published(house: House, folder: Path) -> tuple[dict[int, list[str]], Path]:
    """Return tasks with 30 published histograms each, by their number of buckets, and the key that may read them."""
    house.prepare(folder)
    key = folder / "web.pem"
    house.run("keys", "issue", "--org", "bench", "--kind", "web_api", "--out", key)
    headers = {"authorization": f"Bearer {house.token('grpc', '--access', 'write')}"}
    worker = kit(MODULE, folder, "--data", house.data)
    address = f"http://127.0.0.1:{house.http[1]}"
    with working(worker, folder), httpx.Client(base_url=address, headers=headers) as client:
        tasks = {
            buckets: [
                client.post(
                    "/v1/tasks",
                    json={"service": "bench", "action": "publish", "parameters": {"buckets": str(buckets)}},
                ).json()["id"]
                for _ in range(TASKS)
            ]
            for buckets in BUCKETS
        }
        deadline = time.monotonic() + 120
        for task in (task for some in tasks.values() for task in some):
            while client.get(f"/v1/tasks/{task}").json()["state"] != "TASK_STATE_SUCCEEDED":
                if time.monotonic() > deadline:
                    raise RuntimeError("the worker did not publish")
                time.sleep(0.05)
    return tasks, key


def measure(folder: Path) -> None:
    """Print CPU per call of both, pair by pair, and their ratio."""
    with running() as house:
        tasks, key = published(house, folder)
        context = house.context(key)
        empty = [request_of("GET", "/health")]

        def cost(requests: list[bytes]) -> float:
            before = house.cpu_seconds()
            hammer(house.https, context, requests, connections=CONNECTIONS, each=EACH)
            return (house.cpu_seconds() - before) / (CONNECTIONS * EACH) * 1e6

        for buckets in BUCKETS:
            pages = [
                request_of("GET", f"/api/task_results/{task}?page={page}")
                for task in tasks[buckets]
                for page in (1, 2, 3)
            ]
            for name, requests in (("one page again", pages[:1]), ("ever new pages", pages)):
                cost(requests), cost(empty)
                pairs = [(cost(requests), cost(empty)) for _ in range(PAIRS)]
                what = f"results page, {buckets} buckets a result, {name}"
                compared(what, pairs, "{:.0f} us CPU a call", beside="an empty rpc", aim="at most 1.5")
        for pid in house.processes()["server"]:
            row("server process after these", f"{resident_mb(pid):.0f} MB resident", aim="at most 120 MB")
