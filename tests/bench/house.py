"""A real house in a temporary folder, and what its processes cost."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
        """Run a taskhouse command on this house and return its --json lines."""
        done = subprocess.run(
            [COMMAND, *arguments, "--data", self.data, "--json"], check=True, capture_output=True, text=True
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

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


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(data: Path | None = None, *options: str) -> Iterator[House]:
    """Run a house until the block ends."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = data or Path(temporary) / "data"
        http, https = free_port(), free_port()
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


def start_seconds(data: Path) -> float:
    """Return how long a house takes from the command to its ready line."""
    began = time.perf_counter()
    with running(data):
        return time.perf_counter() - began
