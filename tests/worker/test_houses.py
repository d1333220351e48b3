"""How a worker finds its house, and what it says when it does not."""

import re
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from server.core.caller import Role
from server.identity.authority import Authority
from server.worker.houses import HouseAway, SocketHouse, TlsHouse, WorkerRefused


@pytest.fixture
def authority(tmp_path) -> Authority:
    (tmp_path / "ours").mkdir()
    return Authority.open(tmp_path / "ours")


@pytest.fixture
def stranger(tmp_path) -> Authority:
    (tmp_path / "theirs").mkdir()
    return Authority.open(tmp_path / "theirs")


@pytest.fixture
def port(authority):
    """A TLS server that wants client certificates of our authority."""
    files = authority.server_certificate(["127.0.0.1"])
    pair = (files.private_key.read_bytes(), files.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], authority.certificate_path.read_bytes(), require_client_auth=True)
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        yield port
        server.stop(0).wait()


def key_of(authority: Authority, folder: Path, password: str | None = None) -> Path:
    valid = timedelta(days=1)
    issued = authority.issue_key(kind=Role.WORKER, credential_id="c", organization="", valid=valid)
    file = folder / f"{len(list(folder.iterdir()))}.pem"
    file.write_bytes(issued.pem(password))
    return file


def house(port: int, key: Path, ca: Path) -> TlsHouse:
    return TlsHouse("127.0.0.1", port, key=key, ca=ca)


def test_a_worker_s_key_in_one_file_opens_a_channel(port, authority, tmp_path):
    found = house(port, key_of(authority, tmp_path), authority.certificate_path)
    with found.open() as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/none/none")(b"", timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED  # So the handshake was good.
    assert "accepts connections" in found.explain()


def test_another_authority_s_server_is_not_trusted(port, stranger, tmp_path):
    found = house(port, key_of(stranger, tmp_path), stranger.certificate_path)
    with pytest.raises(WorkerRefused, match=r"does not fit --ca .*give the ca\.pem of that house"):
        found.explain()


def test_another_authority_s_key_is_refused(authority, stranger, tmp_path):
    """As Envoy does it, and other than gRPC's own servers: by an alert."""
    files = authority.server_certificate(["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate_path))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files.certificate, files.private_key)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def judge() -> None:
            with listener.accept()[0] as connection, pytest.raises(ssl.SSLCertVerificationError):
                context.wrap_socket(connection, server_side=True)

        done = pool.submit(judge)
        found = house(listener.getsockname()[1], key_of(stranger, tmp_path), authority.certificate_path)
        with pytest.raises(WorkerRefused, match="refuses the key"):
            found.explain()
        done.result(10)


def test_a_port_where_nobody_listens_may_be_listened_on_later(authority, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = house(taken.getsockname()[1], key_of(authority, tmp_path), authority.certificate_path)
        assert "refused" in found.explain()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 503 Service Unavailable\r\n\r\n"])
def test_who_ends_the_handshake_without_a_word_about_the_key_may_be_a_house_later(authority, tmp_path, answer):
    """An edge at its limit of connections, a balancer without a house behind it."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def hang_up() -> None:
            with listener.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(answer)

        done = pool.submit(hang_up)
        found = house(listener.getsockname()[1], key_of(authority, tmp_path), authority.certificate_path)
        assert "ends the connection" in found.explain()
        done.result(10)


def test_files_that_will_not_do_are_named(authority, tmp_path):
    key, ca = key_of(authority, tmp_path), authority.certificate_path
    (tmp_path / "empty").touch()
    for bad, good_ca, option in (
        (tmp_path / "none", ca, "--key"),
        (tmp_path / "empty", ca, "--key"),
        (key_of(authority, tmp_path, "secret"), ca, "--key"),
        (key, tmp_path / "empty", "--ca"),
        (key, tmp_path / "none", "--ca"),
    ):
        with pytest.raises(WorkerRefused, match=option):
            house(1, bad, good_ca)


def test_a_worker_tries_one_process_after_the_other(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(grpc, "insecure_channel", opened.append)
    found = SocketHouse(lambda: [tmp_path / "a", tmp_path / "b"], "t")
    for _ in range(4):
        found.open()
    assert opened[0] != opened[1]
    assert opened[:2] == opened[2:]
    assert all(re.fullmatch(r"unix:/.*/[ab]", address) for address in opened)


def test_a_house_without_processes_is_away():
    with pytest.raises(HouseAway):
        SocketHouse(list, "t").open()
