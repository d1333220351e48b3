"""Where a worker finds its house, and what it can say when it does not."""

import random
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import grpc

PROBE_SECONDS = 3.0
_PINGS = (("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000))


class HouseAway(Exception):
    """The house does not answer at the moment."""


class WorkerRefused(Exception):
    """The house will not have this worker, now or later. The text says what to do."""


class House(Protocol):
    """A way to the house."""

    metadata: tuple[tuple[str, str], ...]
    """What every call carries."""

    def open(self) -> grpc.Channel:
        """Return a channel to a server that may answer. Raises HouseAway."""

    def explain(self) -> str:
        """Say why the house does not answer, after it did not. Raises WorkerRefused if waiting will not help."""


class SocketHouse:
    """The house on this machine. `find` lists the unix sockets of its server processes."""

    def __init__(self, find: Callable[[], Sequence[Path]], token: str) -> None:
        self._find = find
        self._turn = random.randrange(1000)  # noqa: S311 - workers start at different processes.
        self.metadata: tuple[tuple[str, str], ...] = (("authorization", f"Bearer {token}"),)

    def open(self) -> grpc.Channel:
        """Return a channel to one of the processes; to another one each time, as the last may be dead."""
        sockets = self._find()
        if not sockets:
            raise HouseAway("no server runs here")
        self._turn += 1
        return grpc.insecure_channel(f"unix:{sockets[self._turn % len(sockets)]}")

    def explain(self) -> str:
        """Say what can be known: a socket tells little."""
        return "its server does not answer"


class TlsHouse:
    """The house at an address, over TLS. `key` is a PEM file with key and certificate, `ca` the authority's."""

    def __init__(self, host: str, port: int, *, key: Path, ca: Path) -> None:
        self.metadata: tuple[tuple[str, str], ...] = ()
        self._host, self._port = host, port
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._key, self._ca = key, ca
        self._context = _context(key, ca)
        pem = key.read_bytes()
        self._credentials = grpc.ssl_channel_credentials(ca.read_bytes(), pem, pem)

    def open(self) -> grpc.Channel:
        """Return a channel."""
        return grpc.secure_channel(self._address, self._credentials, options=_PINGS)

    def explain(self) -> str:
        """Shake hands once more in a way that tells what is wrong."""
        try:
            with (
                socket.create_connection((self._host, self._port), timeout=PROBE_SECONDS) as plain,
                self._context.wrap_socket(plain, server_hostname=self._host) as connection,
            ):
                connection.recv(1)
        except ssl.SSLCertVerificationError as error:
            raise WorkerRefused(
                f"the certificate of {self._address} does not fit --ca {self._ca}: {error.verify_message};"
                " give the ca.pem of that house"
            ) from error
        except ssl.SSLError as error:
            if not _is_about_certificate(error.reason or ""):
                return f"{self._address} ends the connection ({error.reason or error})"
            raise WorkerRefused(
                f"{self._address} refuses the key {self._key}: it has expired or is of another house;"
                " `taskhouse keys issue --house --kind worker` makes one"
            ) from error
        except TimeoutError:
            return f"{self._address} does not answer"
        except OSError as error:
            return f"{self._address}: {error.strerror or error}"
        return f"{self._address} accepts connections but does not answer"


def _is_about_certificate(reason: str) -> bool:
    """Say whether the other side found fault with our certificate. Whatever else ends a handshake may go well later."""
    return "_ALERT_" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def _context(key: Path, ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # In TLS 1.2 a server judges the client's certificate in the handshake, and says what is wrong with it; with later
    # versions it often just ends the connection.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    _load("--ca", ca, context.load_verify_locations)
    # A password would be asked for on the terminal, and gRPC cannot be given one.
    _load("--key", key, lambda file: context.load_cert_chain(file, password=lambda: ""))
    return context


def _load(option: str, file: Path, load: Callable[[Path], None]) -> None:
    try:
        load(file)
    except ssl.SSLError as error:
        what = "a certificate" if option == "--ca" else "an unencrypted key and its certificate"
        raise WorkerRefused(f"{option} {file} is not a PEM file with {what}") from error
    except OSError as error:
        raise WorkerRefused(f"cannot read {option} {file}: {error.strerror}") from error
