"""A 10 MB bulk_insert, one row a user, through the edge, against orjson.loads plus raw executemany of its rows."""

import subprocess
import tempfile
import time
from pathlib import Path

import orjson

from tests.bench.house import House, durable, resident_mb, running
from tests.bench.table import compared, row

PAIRS = 7
DATASETS = "datasets:\n  - name: heights\n    columns:\n      - {name: height, type: float, nullable: false}\n"


def body_of_ten_megabytes() -> bytes:
    """Return {user: {"heights": [{"height": …}]}} of just under 10,000,000 bytes."""
    users, size = {}, 2
    while True:
        user, row = f"user-{len(users):07}", {"heights": [{"height": 140 + len(users) % 700 / 10}]}
        size += len(orjson.dumps({user: row})) - 1
        if size > 10_000_000:
            return orjson.dumps(users)
        users[user] = row


def raw_seconds(body: bytes, folder: Path) -> float:
    """Return the time of the least that any implementation has to do."""
    connection = durable(Path(tempfile.mkdtemp(dir=folder)) / "raw.db")
    connection.execute("CREATE TABLE heights (id INTEGER PRIMARY KEY, user TEXT NOT NULL, height REAL NOT NULL)")
    began = time.perf_counter()
    users = orjson.loads(body)
    rows = [(user, row["height"]) for user, tables in users.items() for row in tables["heights"]]
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO heights (user, height) VALUES (?, ?)", rows)
    connection.execute("COMMIT")
    took = time.perf_counter() - began
    connection.close()
    return took


def upload_seconds(house: House, key: Path, body: Path) -> float:
    """Return the time from the start of the request to its answer, as curl tells it."""
    done = subprocess.run(
        ["curl", "-sS", "--cacert", house.data / "ca.pem", "--cert", key, "-H", "content-type: application/json",
         "-H", "expect:", "--data-binary", f"@{body}", "-o", "/dev/stderr", "-w", "%{http_code} %{time_total}",
         f"https://localhost:{house.https[1]}/bulk_insert"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    code, took = done.stdout.split()
    if code != "200":
        raise RuntimeError(f"the upload was answered {code}: {done.stderr[:500]}")
    return float(took)


def measure(folder: Path) -> None:
    """Print the time of both, pair by pair, and their ratio."""
    content = body_of_ten_megabytes()
    body, datasets, key = folder / "body.json", folder / "datasets.yaml", folder / "upload.pem"
    body.write_bytes(content)
    datasets.write_text(DATASETS)
    with running() as house:
        house.run("orgs", "create", "bench")
        house.run("datasets", "apply", datasets, "--org", "bench")
        house.run("keys", "issue", "--org", "bench", "--kind", "upload_any", "--out", key)
        upload_seconds(house, key, body)
        pairs = [(upload_seconds(house, key, body), raw_seconds(content, folder)) for _ in range(PAIRS)]
        what = f"`bulk_insert` of {len(content) / 1e6:.1f} MB"
        compared(what, pairs, "{:.2f} s", beside="`orjson.loads` and `executemany`", aim="at most 2.5")
        time.sleep(2)  # The last upload's memory goes back a second after it.
        for pid in house.processes()["server"]:
            row("server process after these", f"{resident_mb(pid):.0f} MB resident", aim="at most 120 MB")
