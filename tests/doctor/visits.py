"""What tests of the doctor share: how it is asked, and how mistakes are made in a database."""

import re
import time
from pathlib import Path

from pysqlite3 import dbapi2 as sqlite

from server.cli.main import run
from tests.bench.house import free_port
from tests.cli.commands import Commands


class Doctor:
    """`taskhouse doctor` on a house in `data`, with ports that are free."""

    def __init__(self, taskhouse: Commands) -> None:
        self.data = taskhouse.data
        self._captured = taskhouse._captured
        self.listeners = ["--http", f"127.0.0.1:{free_port()}", "--https", f"127.0.0.1:{free_port()}"]

    def says(self, *options: str) -> tuple[int, list[dict[str, object]], str]:
        """Return the exit code, the findings, and the same as text."""
        arguments = ["doctor", "--data", str(self.data), *self.listeners, *options]
        self._captured.readouterr()
        code = run(arguments)
        text, errors = self._captured.readouterr()
        assert errors == ""
        return code, [_parsed(line) for line in text.splitlines()], text

    def wrong(self, check: str, *options: str) -> str:
        """Return the one thing that is wrong with `check`, in a line with its remedy."""
        code, findings, _ = self.says(*options)
        [found] = [one for one in findings if one["check"] == check and one["wrong"]]
        assert code == 1
        return str(found["line"])

    def well(self, *options: str) -> str:
        """Return what is told of a house in which nothing is wrong."""
        code, _, text = self.says(*options)
        assert code == 0, text
        return text


def _parsed(line: str) -> dict[str, object]:
    found = re.fullmatch(r"(ok   |WRONG) (\w+) +(.*)", line)
    assert found, line
    if found[1] == "WRONG":
        assert re.fullmatch(r".+; .+\. Remedy: .+", found[3]), line
    return {"wrong": found[1] == "WRONG", "check": found[2], "line": found[3]}


def execute(data: Path, statement: str, *values: object) -> None:
    connection = sqlite.connect(str(data / "taskhouse.db"))
    connection.execute(statement, values)
    connection.commit()
    connection.close()


def now() -> int:
    return time.time_ns() // 1000


def add_task(data: Path, id_: str = "t", **columns: object) -> None:
    values = {
        "id": id_, "organization_id": 1, "service": "shop", "action": "report", "parameters": "{}", "state": "PENDING",
        "attempt": 0, "failures": 0, "result_count": 0, "ready_time": now(), "create_time": now(), **columns,
    }  # fmt: skip
    marks = ", ".join("?" * len(values))
    execute(data, f"INSERT INTO tasks ({', '.join(values)}) VALUES ({marks})", *values.values())  # noqa: S608 - ours.
