"""A host as envoy/README.md has it in production: servers and edge each by itself, TLS only, its own certificate."""

import contextlib
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from taskhouse.v1 import organizations_pb2, organizations_pb2_grpc
from tests.bench.house import COMMAND, free_port
from tests.edge.certificates import Authority, Issued
from tests.edge.conftest import running, wait_for

SETTINGS = """
http = "off"
https = "127.0.0.1:{port}"
processes = 2
https_certificate = "{folder}/cert.pem"
https_key = "{folder}/key.pem"
log_level = "WARNING"
"""


@dataclass
class Host:
    """One machine with a house on it."""

    data: Path
    port: int
    certificates: Path  # the folder of the edge's certificate
    issuer: Authority  # a public one, as it were
    start_server: Callable[[int], None]
    servers: dict[int, "subprocess.Popen[bytes]"]
    edge: "subprocess.Popen[bytes]"

    def run(self, *arguments: str | Path) -> str:
        done = subprocess.run([COMMAND, *arguments, "--data", self.data], check=True, capture_output=True, text=True)
        return done.stdout

    def context(self, pem: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.issuer.certificate))
        if pem:
            context.load_cert_chain(pem)
        return context

    def client(self, pem: Path | None = None) -> httpx.Client:
        return httpx.Client(base_url=f"https://localhost:{self.port}", verify=self.context(pem), trust_env=False)

    def shown(self) -> str:
        """Return the fingerprint of the certificate that a new client is shown."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=20) as plain,
            self.context().wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            certificate = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True))
        return certificate.fingerprint(hashes.SHA256()).hex()


def put(source: Path, target: Path) -> None:
    """Put a file in place as README says: written beside, then moved."""
    draft = target.with_suffix(".new")
    draft.write_bytes(source.read_bytes())
    draft.replace(target)


def install(issued: Issued, folder: Path) -> None:
    put(issued.private_key, folder / "key.pem")
    put(issued.certificate, folder / "cert.pem")


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("p")
    data, certificates, issuer, port = folder / "data", folder / "tls", Authority(folder, "public"), free_port()
    certificates.mkdir()
    install(issuer.server(), certificates)
    data.mkdir(mode=0o700)
    (data / "config.toml").write_text(SETTINGS.format(port=port, folder=certificates))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TASKHOUSE_")}
    with contextlib.ExitStack() as processes:

        def start(*arguments: str, **options: object) -> "subprocess.Popen[bytes]":
            command = [str(COMMAND), *arguments, "--data", str(data)]
            return processes.enter_context(running(command, env=environment, **options))

        servers: dict[int, subprocess.Popen[bytes]] = {}

        def start_server(number: int) -> None:
            servers[number] = start("serve", "--number", str(number), stdout=subprocess.PIPE)
            assert servers[number].stdout.readline() == b"server ready\n"

        subprocess.run([COMMAND, "db", "upgrade", "--data", data], check=True, capture_output=True, env=environment)
        with (folder / "edge.log").open("wb") as log:
            edge = start("edge", stderr=log)
        host = Host(data, port, certificates, issuer, start_server, servers, edge)
        with host.client() as client:

            def status() -> int:
                assert edge.poll() is None, (folder / "edge.log").read_text()
                with contextlib.suppress(httpx.TransportError):
                    return client.get("/health").status_code
                return 0

            wait_for(lambda: status() == 503, "the edge, before any server")
            for number in range(2):
                start_server(number)
            wait_for(lambda: status() == 200, "the servers")
        yield host


def listening(pid: int) -> set[tuple[str, int]]:
    """Return the TCP addresses that a process listens on."""
    inodes = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                address, port = fields[1].split(":")
                found.add((address, int(port, 16)))
    return found


def test_the_edge_listens_on_its_tls_port_and_nowhere_else(host):
    assert listening(host.edge.pid) == {("0100007F", host.port)}


def test_envoy_accepts_the_configuration(host):
    assert host.run("edge", "--validate") == ""


def test_keys_of_the_house_open_it_until_they_are_revoked(host, tmp_path):
    key = tmp_path / "key.pem"
    host.run("orgs", "create", "acme")
    host.run("keys", "issue", "--org", "acme", "--kind", "web_api", "--out", key)
    with host.client(key) as client, host.client() as stranger:
        assert client.get("/api/task_results/a").json() == {"success": False, "error": "Task not found."}
        assert stranger.get("/api/task_results/a").json() == {"success": False, "error": "Missing authentication key."}
        (line,) = (line for line in host.run("keys", "list").splitlines() if "web_api" in line)
        host.run("keys", "revoke", line.split()[0])
        refused = client.get("/api/task_results/a")  # on the connection that is open
        assert (refused.status_code, refused.json()) == (401, {"success": False, "error": "Not authenticated."})


def test_native_calls_are_answered(host, tmp_path):
    key = tmp_path / "operator.pem"
    host.run("keys", "issue", "--house", "--kind", "operator", "--out", key)
    pem = key.read_bytes()
    credentials = grpc.ssl_channel_credentials(host.issuer.certificate.read_bytes(), pem, pem)
    with grpc.secure_channel(f"localhost:{host.port}", credentials) as channel:
        stub = organizations_pb2_grpc.OrganizationServiceStub(channel)
        assert stub.ListOrganizations(organizations_pb2.ListOrganizationsRequest()) is not None


def test_a_renewed_certificate_is_shown_without_a_restart(host):
    with host.client() as client:
        assert client.get("/health").status_code == 200
        renewed = host.issuer.server()
        install(renewed, host.certificates)
        wait_for(lambda: host.shown() == renewed.sha256, "the new certificate")
        assert client.get("/health").status_code == 200  # on the connection that is open
    assert host.edge.poll() is None


def test_a_certificate_that_lacks_its_key_is_not_taken(host):
    before = host.shown()
    renewed = host.issuer.server()
    put(renewed.certificate, host.certificates / "cert.pem")
    assert host.shown() == before
    put(renewed.private_key, host.certificates / "key.pem")
    wait_for(lambda: host.shown() == renewed.sha256, "the new pair")


def test_a_server_may_die_and_come_back(host):
    host.servers[1].kill()
    host.servers[1].wait()
    with host.client() as client:
        for _ in range(20):
            assert client.get("/health").status_code == 200
        host.start_server(1)
        for _ in range(20):
            assert client.get("/health").status_code == 200


def test_a_whole_house_can_do_without_its_plain_listener(tmp_path):
    port = free_port()
    arguments = ["up", "--data", str(tmp_path / "data"), "--http", "off", "--https", f"127.0.0.1:{port}"]
    with running([str(COMMAND), *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as house:
        assert house.stdout.readline() == f"ready https=https://127.0.0.1:{port}\n".encode()
        context = ssl.create_default_context(cafile=str(tmp_path / "data" / "ca.pem"))
        answer = httpx.get(f"https://localhost:{port}/health", verify=context, trust_env=False)
        assert answer.json() == {"status": "SERVING"}
        house.terminate()
        assert house.wait(60) == 0
