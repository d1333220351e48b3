"""A real house in a temporary folder, its workers, and what its processes cost."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from pysqlite3 import dbapi2 as sqlite

from server.cli.main import run
from tests import declared

COMMAND = Path(sys.executable).with_name("taskhouse")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class House:
    """A running house."""

    data: Path
    http: tuple[str, int]
    https: tuple[str, int]
    pid: int

    def run(self, *arguments: str | Path) -> list[dict[str, object]]:
        """Run a taskhouse command on this house and return its --json lines.

        In this process: one of its own takes a second to start.
        """
        out, err = StringIO(), StringIO()
        before = os.umask(0o077)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = run([*map(str, arguments), "--data", str(self.data), "--json"])
        finally:
            os.umask(before)
        if code:
            raise RuntimeError(f"{arguments}: {err.getvalue()}")
        return [json.loads(line) for line in out.getvalue().splitlines()]

    def prepare(self, folder: Path) -> None:
        """Make the organization "bench", and declare what tests may ask workers for in a file of the folder."""
        self.run("catalogue", "apply", declared.write(folder))
        self.run("orgs", "create", "bench")

    def token(self, api: str, *options: str) -> str:
        """Make a token of the organization "bench" and return it."""
        return str(self.run("tokens", "create", "--org", "bench", "--api", api, *options)[0]["token"])

    def processes(self) -> dict[str, list[int]]:
        """Return the pids of the house's children: {"server": [...], "worker": [...], "edge": [...]}."""
        found: dict[str, list[int]] = {"server": [], "worker": [], "edge": []}
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for child in map(int, children):
            command = Path(f"/proc/{child}/cmdline").read_bytes().decode()
            kind = "server" if "\0serve\0" in command else "worker" if "\0work\0" in command else "edge"
            found[kind].append(child)
        return found

    def cpu_seconds(self) -> float:
        """Return the CPU that servers and Envoy have used."""
        processes = self.processes()
        return sum(cpu_seconds(pid) for pid in processes["server"] + processes["edge"])

    def context(self, pem: Path | None = None) -> ssl.SSLContext:
        """Return a TLS context that trusts the house, with a client certificate if one is given."""
        context = ssl.create_default_context(cafile=str(self.data / "ca.pem"))
        if pem:
            context.load_cert_chain(pem)
        return context


def cpu_seconds(pid: int) -> float:
    """Return the CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def durable(database: Path) -> sqlite.Connection:
    """Open an SQLite file as the house does: what is committed is on the disk."""
    connection = sqlite.connect(str(database), isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def kit(module: str, folder: Path, *options: str | Path) -> list[str | Path]:
    """Return the command of a worker of this module, whose text is put into the folder; it is to be run there."""
    (folder / "bench_worker.py").write_text(module)
    return [COMMAND, "work", "--module", "bench_worker:worker", *options]


@contextmanager
def working(command: Sequence[str | Path], folder: Path) -> Iterator[int]:
    """Run a worker in a folder until the block ends, and give its pid. It is ready when the block begins."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=quiet, text=True) as worker:
        try:
            if worker.stdout.readline() != "worker ready\n":
                raise RuntimeError(f"no worker: {command}")
            yield worker.pid
        finally:
            worker.kill()


@contextmanager
def running(data: Path | None = None, *options: str, database: str | None = None) -> Iterator[House]:
    """Run a house until the block ends: on SQLite, unless the URL of another database is given."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = data or Path(temporary) / "data"
        http, https = free_port(), free_port()
        if database:
            folder.mkdir(mode=0o700, parents=True)
            (folder / "config.toml").write_text(f"database = {json.dumps(database)}\n")
        arguments = ["up", "--data", folder, "--http", f"127.0.0.1:{http}", "--https", f"127.0.0.1:{https}", *options]
        with (Path(temporary) / "log").open("w") as log:
            process = subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, stderr=log, text=True)
            try:
                line = process.stdout.readline()
                if not line.startswith("ready "):
                    raise RuntimeError(f"the house did not start: {(Path(temporary) / 'log').read_text()[-2000:]}")
                yield House(folder, ("127.0.0.1", http), ("127.0.0.1", https), process.pid)
            finally:
                process.terminate()
                process.wait(60)
                process.stdout.close()
