"""Procrastinate, with as many jobs at a time as it gains from.

work.py enqueue|drain CONNECTION TASKS [result]
"""

import asyncio
import json
import sys
import time
from contextlib import suppress

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException

verb, connection, count, *keeping = sys.argv[1:]
tasks = int(count)
CONCURRENCY = 24
CONTENT = json.dumps({"buckets": [["done", None, 5]], "exceptions": []})
app = App(connector=PsycopgConnector(conninfo=connection, min_size=CONCURRENCY + 1, max_size=CONCURRENCY + 1))
began: tuple[float, float] | None = None


@app.task(name="nothing", pass_context=True)
async def nothing(context, number: str) -> None:
    global began
    began = began or (time.perf_counter(), time.process_time())
    if keeping:
        await app.connector.execute_query_async(
            "INSERT INTO procrastinate_results (job, content) VALUES (%(job)s, %(content)s)",
            job=context.job.id,
            content=CONTENT,
        )


async def enqueue() -> None:
    with suppress(ConnectorException):  # It is there from an earlier run.
        await app.schema_manager.apply_schema_async()
    await app.connector.execute_query_async(
        "CREATE TABLE IF NOT EXISTS procrastinate_results (job bigint PRIMARY KEY, content text NOT NULL)"
    )
    for done in range(0, tasks, 1000):
        await nothing.batch_defer_async(*({"number": str(done + at)} for at in range(min(1000, tasks - done))))


async def drain() -> None:
    await app.run_worker_async(concurrency=CONCURRENCY, wait=False, install_signal_handlers=False)
    seconds, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    (left,) = await app.connector.execute_query_all_async(
        "SELECT count(*) AS left FROM procrastinate_jobs WHERE status <> 'succeeded'"
    )
    if left["left"]:
        raise SystemExit(f"{left['left']} jobs are not done")
    print(json.dumps({"tasks": tasks, "seconds": seconds, "cpu": cpu}))


async def main() -> None:
    async with app.open_async():
        await (enqueue() if verb == "enqueue" else drain())


asyncio.run(main())
