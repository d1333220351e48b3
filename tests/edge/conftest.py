"""A real Envoy before real servers, each a process; all stop with their fixture."""

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import httpx
import pytest

from server import edge as edges
from tests.edge.certificates import Authority, Issued

PATIENCE_SECONDS = 20


def wait_for(holds: Callable[[], object], what: str) -> None:
    """Return as soon as it holds."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.005)


class AdminConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("admin", timeout=PATIENCE_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


@dataclass
class Edge:
    """One running Envoy."""

    config: edges.EdgeConfig
    log: Path
    ports: dict[str, int]
    pid: int

    def admin(self, path: str, method: str = "GET") -> str:
        connection = AdminConnection(self.config.admin_socket)
        with contextlib.closing(connection):
            connection.request(method, path)
            return connection.getresponse().read().decode()

    def tls(self, certificate: Issued | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.config.authority))
        if certificate:
            context.load_cert_chain(*certificate.pair)
        return context

    def client(self, *, http2: bool = False, certificate: Issued | None = None) -> httpx.Client:
        url = f"https://localhost:{self.ports['https']}"
        return httpx.Client(
            base_url=url, verify=self.tls(certificate), http2=http2, http1=not http2, trust_env=False, timeout=60
        )

    def plain(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.ports['http']}", trust_env=False, timeout=60)

    def channel(self, certificate: Issued | None = None) -> grpc.Channel:
        chain, key = (Path(name).read_bytes() for name in certificate.pair) if certificate else (None, None)
        credentials = grpc.ssl_channel_credentials(self.config.authority.read_bytes(), key, chain)
        return grpc.secure_channel(f"localhost:{self.ports['https']}", credentials)


@contextlib.contextmanager
def running(arguments: list[str], **options: object) -> Iterator[subprocess.Popen]:
    """Run a process, and kill it in the end."""
    process = subprocess.Popen(arguments, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


@contextlib.contextmanager
def running_house(path: Path) -> Iterator[subprocess.Popen]:
    """Run a server process that answers on `path`."""
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root / 'gen' / 'python'}"}
    script = str(Path(__file__).with_name("house.py"))
    with running([sys.executable, script, str(path)], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process


@contextlib.contextmanager
def running_edge(config: edges.EdgeConfig) -> Iterator[Edge]:
    """Run Envoy, from when it serves."""
    config.folder.mkdir(exist_ok=True)
    edges.write(config)
    log = config.folder / "envoy.log"
    with log.open("wb") as output, running(edges.command(config), stdout=output, stderr=output) as process:
        edge = Edge(config, log, {}, process.pid)

        def serves() -> bool:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError):
                return edge.admin("/ready").strip() == "LIVE"
            return False

        wait_for(serves, "Envoy")
        for listener in json.loads(edge.admin("/listeners?format=json"))["listener_statuses"]:
            edge.ports[listener["name"]] = listener["local_address"]["socket_address"]["port_value"]
        yield edge


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("e")


@pytest.fixture(scope="session")
def authority(folder) -> Authority:
    return Authority(folder, "ca")


@pytest.fixture(scope="session")
def config(folder, authority) -> edges.EdgeConfig:
    issued = authority.server()
    return edges.EdgeConfig(
        http=("127.0.0.1", 0),
        https=("127.0.0.1", 0),
        sockets=(folder / "server.sock",),
        certificate=issued.certificate,
        private_key=issued.private_key,
        authority=authority.certificate,
        admin_socket=folder / "admin.sock",
        folder=folder / "edge",
    )


@pytest.fixture(scope="session")
def house(config) -> Iterator[subprocess.Popen]:
    with running_house(config.sockets[0]) as process:
        yield process


@pytest.fixture(scope="session")
def edge(config, house) -> Iterator[Edge]:
    with running_edge(config) as running:
        yield running


@pytest.fixture(scope="session")
def hasty_edge(config, house, folder) -> Iterator[Edge]:
    """An edge whose calls end after a moment."""
    changed = replace(
        config,
        admin_socket=folder / "hasty.sock",
        folder=folder / "hasty",
        timeout_seconds=0.5,
        upload_timeout_seconds=0.5,
        public_idle_seconds=0.5,
        stalled_seconds=0.5,
    )
    with running_edge(changed) as running:
        yield running


@pytest.fixture(scope="session")
def alice(authority) -> Issued:
    return authority.client("alice")
