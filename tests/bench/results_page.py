"""A results page of ten histograms against an empty rpc, both through Envoy with TLS on 16 keep-alive connections."""

import statistics
import subprocess
import time
from pathlib import Path

from tests.bench.house import COMMAND, House, resident_mb, running
from tests.bench.load import hammer, request_of

CONNECTIONS, EACH, PAIRS = 16, 150, 9
BUCKETS = 2  # A result has as many in the documented page.
MODULE = f"""
from server.worker.kit import Result, Worker

worker = Worker(service="bench")


@worker.action("publish")
def publish(task):
    for number in range(30):
        yield Result.histogram([("height", str(140 + 10 * i), 5 * (i + number + 1)) for i in range({BUCKETS})], [])
"""


def published_task(house: House, folder: Path) -> tuple[str, Path]:
    """Return a task with 30 published histograms of 8 buckets, and the key that may read them."""
    (folder / "bench_worker.py").write_text(MODULE)
    house.run("orgs", "create", "bench")
    key = folder / "web.pem"
    subprocess.run([COMMAND, "keys", "issue", "--org", "bench", "--kind", "web_api", "--out", key,
                    "--data", house.data], check=True, capture_output=True)  # fmt: skip
    token = house.run("tokens", "create", "--org", "bench", "--api", "grpc", "--access", "write")[0]["token"]
    import httpx

    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{house.http[1]}", headers=headers) as client:
        task = client.post("/v1/tasks", json={"service": "bench", "action": "publish"}).raise_for_status().json()["id"]
        worker = subprocess.Popen([COMMAND, "work", "--module", "bench_worker:worker", "--data",
                                   house.data], cwd=folder, stdout=subprocess.DEVNULL)  # fmt: skip
        deadline = time.monotonic() + 30
        while client.get(f"/v1/tasks/{task}").json()["state"] != "TASK_STATE_SUCCEEDED":
            if time.monotonic() > deadline:
                raise RuntimeError("the worker did not publish")
            time.sleep(0.05)
        worker.terminate()
        worker.wait()
    return task, key


def measure(folder: Path) -> None:
    """Print CPU per call of both, pair by pair, and their ratio."""
    with running() as house:
        task, key = published_task(house, folder)
        context = house.context(key)
        page, empty = request_of("GET", f"/api/task_results/{task}"), request_of("GET", "/health")

        def cost(request: bytes) -> float:
            before = house.cpu_seconds()
            hammer(house.https, context, request, connections=CONNECTIONS, each=EACH)
            return (house.cpu_seconds() - before) / (CONNECTIONS * EACH) * 1e6

        cost(page), cost(empty)
        pairs = [(cost(page), cost(empty)) for _ in range(PAIRS)]
        ratios = sorted(a / b for a, b in pairs)
        print(
            f"results page: {statistics.median(a for a, _ in pairs):.0f} us CPU a call;"
            f" empty rpc: {statistics.median(b for _, b in pairs):.0f} us;"
            f" ratio median {statistics.median(ratios):.2f} (min {ratios[0]:.2f}, max {ratios[-1]:.2f}), limit 1.5"
        )
        for pid in house.processes()["server"]:
            print(f"server process: {resident_mb(pid):.0f} MB resident, limit 120")
