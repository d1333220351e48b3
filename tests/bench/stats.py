"""The monarc API beside FastAPI with SQLModel on the same file, and what history costs.

Runs are interleaved, as fastapi.py says. Both give the same content. POSTs are committed with fsync by both.
"""

import asyncio
import json
import sqlite3
import time
import uuid
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
import httpx
from pysqlite3 import dbapi2 as sqlite

from server.core import stats
from server.core.caller import Caller, Role
from server.core.stats_content import Values, read_new
from server.store.sqlite import SqliteStore
from server.store.stats import COLUMNS
from taskhouse.v1 import stats_pb2, stats_pb2_grpc
from tests.bench.fastapi import WORKERS, Peer, cost, peer, told
from tests.bench.house import House, durable, running
from tests.bench.load import request_of
from tests.bench.table import compared

PAIRS = 11
STATS = 100_000
SMALL, LARGE = 10_000, 1_000_000
MESSAGE = 1000  # Stats of a message, or of a batch.
TYPES = ("risk", "threat", "vulnerability", "cartography")


def content(number: int) -> dict[str, Any]:
    """Return a stat, one of many that come day by day."""
    day = number // 50
    return {
        "anr": number % 50,
        "type": TYPES[number % 4],
        "day": day % 365 + 1,
        "week": day % 365 // 7 + 1,
        "month": day % 365 // 31 + 1,
        "year": 2000 + day // 365,
        "data": {"what": "you want", "super": "cool", "value": number % 1000},
    }


def fill(database: Path, most: int) -> None:
    """Store stats until the organization has so many."""
    connection = sqlite3.connect(database)
    [(organization_id,)] = connection.execute("SELECT id FROM organizations WHERE name = 'bench'").fetchall()
    [(there,)] = connection.execute("SELECT count(*) FROM stats").fetchall()
    connection.close()
    caller = Caller("bench", Role.MONARC_WRITE, organization_id, "bench", "")

    async def run() -> None:
        store = SqliteStore(database)
        for first in range(there, most, 5000):
            contents = [read_new(content(number)) for number in range(first, min(first + 5000, most))]
            await store.write(stats.add, caller=caller, contents=contents)
        await store.close()

    asyncio.run(run())


def against_fastapi(house: House, folder: Path, token: str) -> None:
    """Print the rates of both, for a list, for one stat, and for new ones."""
    database = house.data / "taskhouse.db"
    connection = sqlite3.connect(database)
    ids = [row[0] for row in connection.execute("SELECT id FROM stats ORDER BY random() LIMIT 200")]
    connection.close()
    key = f"x-api-key: {token}"
    body = httpx.Request("POST", "http://x", json=content(1)).content
    json_type = "content-type: application/json"
    lists = [f"/api/v2/stats/?type=risk&month={month}&_limit=10" for month in range(1, 12)]
    cases = (
        ("filtered list of 10", 2.7, [request_of("GET", path, headers=(key,)) for path in lists]),
        ("GET one", 2.3, [request_of("GET", f"/api/v2/stats/{stat_id}/", headers=(key,)) for stat_id in ids]),
        ("POST one", 4.0, [request_of("POST", "/api/v2/stats/", headers=(key, json_type), body=body)]),
    )
    with peer(folder, database, "fastapi_stats") as other:
        compare(house, other, token, [*lists, *(f"/api/v2/stats/{stat_id}/" for stat_id in ids)])
        for name, limit, requests in cases:
            cost(house.http, requests, house.cpu_seconds), cost(other.address, requests, other.cpu_seconds)
            pairs = [
                (cost(house.http, requests, house.cpu_seconds), cost(other.address, requests, other.cpu_seconds))
                for _ in range(PAIRS)
            ]
            told(name, pairs, limit)


def compare(house: House, other: Peer, token: str, paths: Sequence[str]) -> None:
    """See that both answer the same."""
    with httpx.Client(headers={"x-api-key": token}) as client:
        for path in paths:
            ours, theirs = (
                client.get(f"http://127.0.0.1:{port}{path}").raise_for_status().json()
                for _, port in (house.http, other.address)
            )
            if ours != theirs:
                raise RuntimeError(f"the answers differ: {ours!r} {theirs!r}")


def write_against_raw(house: House, token: str, folder: Path) -> None:
    """Print how many stats a second a stream of Write stores, and how many raw batches of the same rows do.

    Both add to the same stats: the raw ones to a copy of the house's database.
    """
    copy = folder / "raw.db"
    source, target = sqlite.connect(str(house.data / "taskhouse.db")), sqlite.connect(str(copy))
    source.backup(target)
    source.close()
    target.close()
    pairs = []
    for number in range(7):
        messages = [
            stats_pb2.WriteRequest(stats=map(message, range(first, first + MESSAGE)))
            for first in range(0, 20 * MESSAGE, MESSAGE)
        ]
        with grpc.insecure_channel(f"127.0.0.1:{house.http[1]}") as channel:
            grpc.channel_ready_future(channel).result(30)
            began = time.perf_counter()
            answer = stats_pb2_grpc.StatServiceStub(channel).Write(
                iter(messages), metadata=(("authorization", f"Bearer {token}"),)
            )
            ours = answer.written / (time.perf_counter() - began)
        pairs.append((ours, raw_rate(copy, number)))
    compared("`Write` of stats", pairs, "{:,.0f}/s", beside="raw batches", aim="at least 0.5")


def message(number: int) -> stats_pb2.Stat:
    """Return the same stat as `content`."""
    given = content(number)
    return stats_pb2.Stat(
        anr_number=given["anr"],
        type=given["type"],
        day=given["day"],
        week=given["week"],
        month=given["month"],
        year=given["year"],
        data=json.dumps(given["data"]),
    )


def row_of(stat_id: str, organization_id: int, values: Values) -> tuple[Any, ...]:
    """Return a stat's row, in the order of COLUMNS."""
    given = {"id": stat_id, "organization_id": organization_id, "uuid": str(uuid.uuid4()), "quarter": None}
    given |= {"create_time": 1_600_000_000_000_000, "update_time": 1_600_000_000_000_000, **values}
    return tuple(given[name] for name in COLUMNS)


def raw_rate(path: Path, run: int) -> float:
    """Return how many ready rows a second SQLite stores in batches, with the same indexes and durability."""
    connection = durable(path)
    connection.execute("PRAGMA foreign_keys=ON")
    [organization_id] = connection.execute("SELECT id FROM organizations WHERE name = 'bench'").fetchone()
    batches = [
        [
            row_of(f"f{run:07x}{number:016x}", organization_id, read_new(content(number)))
            for number in range(first, first + MESSAGE)
        ]
        for first in range(0, 20 * MESSAGE, MESSAGE)
    ]
    marks = ", ".join("?" * len(COLUMNS))
    insert = f"INSERT INTO stats ({', '.join(COLUMNS)}) VALUES ({marks})"  # noqa: S608 - our own names.
    began = time.perf_counter()
    for rows in batches:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, rows)
        connection.execute("COMMIT")
    took = time.perf_counter() - began
    connection.close()
    return 20 * MESSAGE / took


def with_history() -> None:
    """Print what a list, one stat and a page after a cursor cost with few stats and with very many."""
    with running() as small, running() as large:
        tokens = [house.run("orgs", "create", "bench")[0]["token"] for house in (small, large)]
        fill(small.data / "taskhouse.db", SMALL)
        fill(large.data / "taskhouse.db", LARGE)
        found = []
        for house, token in zip((small, large), tokens, strict=True):
            connection = sqlite3.connect(house.data / "taskhouse.db")
            most = SMALL if house is small else LARGE
            half = connection.execute("SELECT id FROM stats ORDER BY id LIMIT 200 OFFSET ?", (most // 2,))
            ids = [row[0] for row in half]
            connection.close()
            paths = {
                "list": [f"?type=risk&month={month}&_limit=10" for month in (1, 2, 3)],
                "list of a range": ["?type=risk&month__gt=2&month__lt=8&_limit=10"],
                "latest first": ["?_order_by=-created_at&_limit=10"],
                "GET": [f"{stat_id}/" for stat_id in ids],
                "_after": [f"?_limit=10&_after={stat_id}" for stat_id in ids],
            }
            key = f"x-api-key: {token}"
            found.append(
                {
                    name: [request_of("GET", f"/api/v2/stats/{path}", headers=(key,)) for path in several]
                    for name, several in paths.items()
                }
            )
        for name in found[0]:
            for house, requests in zip((small, large), found, strict=True):
                latencies(house, requests[name])
            pairs = [(latencies(small, found[0][name]), latencies(large, found[1][name])) for _ in range(PAIRS)]
            for at, figure in enumerate(("median", "p99", "CPU")):
                figures = [(many[at], few[at]) for few, many in pairs]
                what = f"{name} among {LARGE:,} stats, {figure} of a call"
                compared(what, figures, "{:.0f} us", beside=f"among {SMALL:,}")


def latencies(house: House, requests: Sequence[bytes]) -> tuple[float, float, float]:
    """Return median, 99th percentile and CPU of a request, one at a time, in microseconds."""
    took = []
    before = house.cpu_seconds()
    connection = HTTPConnection(*house.http)
    number = 300
    for at in range(number):
        head = requests[at % len(requests)].decode().split("\r\n")
        _, path, _ = head[0].split(" ", 2)
        headers = dict(line.split(": ", 1) for line in head[2:] if line)
        began = time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        took.append(time.perf_counter() - began)
    connection.close()
    took.sort()
    return took[number // 2] * 1e6, took[number * 99 // 100] * 1e6, (house.cpu_seconds() - before) / number * 1e6


def measure(folder: Path) -> None:
    """Print everything."""
    with running(None, "--processes", WORKERS) as house:
        token = house.run("orgs", "create", "bench")[0]["token"]
        typed = house.token("grpc")
        fill(house.data / "taskhouse.db", STATS)
        against_fastapi(house, folder, token)
        write_against_raw(house, typed, folder)
    with_history()
