"""The rudder API beside FastAPI with SQLModel on the same file: two server processes, and two workers.

Runs are interleaved, as fastapi.py says. Both give the same bytes. An update and its event are one transaction,
committed with fsync by both; 16 writers change the rules of one organization, each to another name every time. The
house's event is chained, and its log's head is on the disk, too, before the answer.
"""

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.bench.fastapi import WORKERS, Peer, cost, peer, told
from tests.bench.house import House, running
from tests.bench.load import request_of

RULES, PAIRS = 100, 11
EVENTS = (
    "CREATE TABLE IF NOT EXISTS peer_events (id INTEGER PRIMARY KEY, organization_id INTEGER, actor TEXT, action TEXT,"
    " rule_id TEXT, before TEXT, after TEXT, event_time INTEGER)"
)
_numbers = itertools.count(1)


def content(number: int) -> dict[str, Any]:
    """Return a rule as people have them."""
    return {
        "id": f"32377fd7-02fd-43d0-aab7-{number:012}",
        "displayName": f"Security policy {number}",
        "shortDescription": "Baseline applied to all nodes",
        "longDescription": "The baseline of the security team: users, ssh and time, as agreed.",
        "directives": [f"16617aa8-1f02-4e4a-87b6-{each:012}" for each in range(number % 5 + 1)],
        "targets": ["group:all-nodes-with-cfengine-agent", "special:all_exceptPolicyServers"],
        "enabled": True,
    }


def fill(house: House, token: str) -> list[str]:
    """Create the rules and return their ids."""
    keys = {"x-api-token": token}
    with httpx.Client(base_url=f"http://127.0.0.1:{house.http[1]}/api/latest", headers=keys) as client:
        for number in range(RULES):
            client.put("/rules", json=content(number)).raise_for_status()
        listed = client.get("/rules").raise_for_status().json()["data"]["rules"]
    return [rule["id"] for rule in listed]


def updates(ids: list[str], key: str) -> list[bytes]:
    """Return requests that give each rule a name that none has had."""
    json_type = "content-type: application/json"
    return [
        request_of(
            "POST", f"/api/latest/rules/{rule_id}", headers=(key, json_type),
            body=orjson.dumps({"displayName": f"Security policy, revision {next(_numbers)}"}),
        )
        for _, rule_id in itertools.islice(itertools.product(range(10), ids), 10 * RULES)
    ]  # fmt: skip


def cases(ids: list[str], key: str) -> Iterator[tuple[str, float | None, Callable[[], list[bytes]]]]:
    """Return what is measured, the ratio that is asked for, and what makes the requests."""
    details = [request_of("GET", f"/api/latest/rules/{rule_id}", headers=(key,)) for rule_id in ids]
    every = [request_of("GET", "/api/latest/rules", headers=(key,))]
    yield "rule details", 2.7, lambda: details
    yield f"list of {RULES} rules", 2.7, lambda: every
    yield "updates with their event, 16 writers", None, lambda: updates(ids, key)


def compare(house: House, other: Peer, ids: list[str], token: str) -> None:
    """See that both answer the same."""
    with httpx.Client(headers={"x-api-token": token}) as client:
        for path in ("rules", *(f"rules/{rule_id}" for rule_id in ids)):
            ours, theirs = (
                client.get(f"http://127.0.0.1:{port}/api/latest/{path}").raise_for_status().content
                for _, port in (house.http, other.address)
            )
            if ours != theirs:
                raise RuntimeError(f"the answers differ: {ours!r} {theirs!r}")


def measure(folder: Path) -> None:
    """Print the rates of both."""
    with running(None, "--processes", WORKERS) as house:
        house.run("orgs", "create", "bench")
        token = house.token("rudder", "--name", "Robot")
        ids = fill(house, token)
        database = house.data / "taskhouse.db"
        with sqlite3.connect(database) as connection:
            connection.execute(EVENTS)
        connection.close()
        with peer(folder, database, "fastapi_rules") as other:
            compare(house, other, ids, token)
            for name, limit, requests in cases(ids, f"x-api-token: {token}"):
                pairs = [
                    (
                        cost(house.http, requests(), house.cpu_seconds),
                        cost(other.address, requests(), other.cpu_seconds),
                    )
                    for _ in range(PAIRS + 1)
                ]
                told(name, pairs[1:], limit)
