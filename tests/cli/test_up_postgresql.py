"""`taskhouse up` on PostgreSQL: several processes, and several machines, on one database."""

import shutil
from pathlib import Path

import httpx
import pytest

from server.store.address import PostgresAddress
from tests.bench.house import House, running
from tests.databases import Postgres, apart, name_of, rows

DATASETS = "datasets:\n  - name: t\n    columns:\n      - {name: n, type: integer, nullable: false}\n"


@pytest.fixture
def guarded(postgres: Postgres) -> PostgresAddress:
    """A new database of a role that needs its password."""
    address = postgres.fresh()
    postgres.run(
        "DROP ROLE IF EXISTS guarded",
        "CREATE ROLE guarded LOGIN PASSWORD 'geheim'",
        f"ALTER DATABASE {name_of(address)} OWNER TO guarded",
    )
    yield PostgresAddress.parse(address.url.replace("postgres@", "guarded:geheim@"))
    postgres.run(f"DROP DATABASE {name_of(address)} WITH (FORCE)", "DROP ROLE guarded")


def count(house: House, key: Path) -> dict[str, object]:
    """Ask for a histogram and wait for its task's end."""
    with httpx.Client(base_url=f"https://localhost:{house.https[1]}", verify=house.context(key), timeout=30) as client:
        asked = {
            "service": "cloak",
            "action": "histogram",
            "parameters": {"dataset": "t", "column": "n", "bin_width": "9"},
        }
        task = client.post("/v1/tasks", json=asked).raise_for_status().json()
        while task["state"] in ("TASK_STATE_PENDING", "TASK_STATE_RUNNING"):
            task = client.get(f"/v1/tasks/{task['id']}").raise_for_status().json()
        return task


def upload(house: House, key: Path) -> None:
    with httpx.Client(base_url=f"https://localhost:{house.https[1]}", verify=house.context(key), timeout=30) as client:
        people = {f"user {number}": {"t": [{"n": 5}]} for number in range(500)}
        assert client.post("/bulk_insert", json=people).json() == {"success": True}


def test_two_machines_are_one_house_on_one_database(
    guarded: PostgresAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKHOUSE_DATABASE", guarded.url)
    one, two = tmp_path / "one", tmp_path / "two"
    with running(one, "--processes", "2") as first:
        first.run("orgs", "create", "acme")
        (tmp_path / "datasets.yaml").write_text(DATASETS)
        first.run("datasets", "apply", tmp_path / "datasets.yaml", "--org", "acme")
        for kind in ("upload_any", "task_runner"):
            first.run("keys", "issue", "--org", "acme", "--kind", kind, "--out", tmp_path / f"{kind}.pem")
        two.mkdir(mode=0o700)
        for name in ("ca.key", "ca.pem"):
            shutil.copy(one / name, two / name)
        with running(two) as second:
            upload(first, tmp_path / "upload_any.pem")
            for house in (first, second, first, second):
                task = count(house, tmp_path / "task_runner.pem")
                assert task["state"] == "TASK_STATE_SUCCEEDED", task
            for house in (first, second):
                for pids in house.processes().values():
                    for pid in pids:
                        assert b"geheim" not in Path(f"/proc/{pid}/cmdline").read_bytes()
                assert "geheim" not in "".join(path.read_text() for path in house.data.glob("*.log"))
        assert count(first, tmp_path / "task_runner.pem")["state"] == "TASK_STATE_SUCCEEDED"
    assert apart(rows(guarded, "SELECT DISTINCT state FROM tasks")) == [("SUCCEEDED",)]
    assert not (one / "taskhouse.db").exists()
