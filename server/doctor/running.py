"""Which parts of a house run on this machine, whoever started them, and whether its servers answer."""

import fcntl
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.doctor.findings import Finding
from server.sockets import run_folder

TIMEOUT_SECONDS = 3.0


class Running(NamedTuple):
    """The parts that run."""

    is_up: bool  # a `taskhouse up`
    servers: tuple[Path, ...]  # the sockets of the server processes that run
    has_edge: bool

    @property
    def house(self) -> bool:
        """Whether any of them does."""
        return self.is_up or bool(self.servers) or self.has_edge

    @property
    def works(self) -> bool:
        """Whether calls are answered, and what is due is done."""
        return self.is_up or bool(self.servers)


def find_running(data: Path) -> Running:
    """Look which parts of the house in the folder run."""
    servers = tuple(path for path in server_sockets(data) if is_held(path.with_name(f"{path.name}.lock")))
    return Running(is_held(data / "up.lock"), servers, _listens(run_folder(data) / "envoy.sock"))


def check_running(data: Path, running: Running) -> Iterator[Finding]:
    """Tell what runs, and ask each server process."""
    if running.is_up:
        yield Finding("house", f"it runs on {data}")
    elif running.house:
        edge = "Envoy" if running.has_edge else "no Envoy"
        many = f"{len(running.servers)} server process{'es' * (len(running.servers) != 1)}"
        yield Finding("house", f"{many} and {edge} run on {data}, without `taskhouse up`")
    else:
        yield Finding("house", f"no `taskhouse up` runs on {data}")
    for path in running.servers:
        if fault := _fault(path):
            yield Finding(
                "servers",
                f"the server process at {path} {fault}",
                "calls that come to it wait until they fail",
                f"kill it with SIGKILL, to be started again: `kill -9 $(lsof -t {path}.lock)`",
            )


def is_held(lock: Path) -> bool:
    """Say whether a process holds this lock file."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # For a moment: who starts meanwhile tries again.
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def server_sockets(data: Path) -> list[Path]:
    """Return the sockets of server processes, dead ones included."""
    try:
        return sorted(run_folder(data).glob("server-*.sock"))
    except OSError:  # It is somebody else's.
        return []


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(TIMEOUT_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _fault(path: Path) -> str:
    """Ask a server process for its health; return what is wrong with the answer."""
    with grpc.insecure_channel(f"unix:{path.absolute()}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # Its types are those of grpc.aio.
        try:
            stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            frozen = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            return f"does not answer within {TIMEOUT_SECONDS:g} s: it hangs or is stopped" if frozen else "is not there"
    return ""
