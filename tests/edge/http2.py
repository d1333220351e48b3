"""A client for HTTP/2 that reads while it sends, which httpx does not: a refusal comes before the body is through."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

from tests.edge.certificates import Issued
from tests.edge.conftest import Edge

PORTION_BYTES = 16_384


class Connection:
    """One connection with many streams, each a request that may be left unfinished."""

    def __init__(self, tls: socket.socket) -> None:
        self._tls = tls
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._answers: dict[int, tuple[int, bytes]] = {}
        self._ended: set[int] = set()

    def begin(self, method: str, path: str, headers: dict[str, str] | None = None, *, end: bool = False) -> int:
        """Send headers, and say whether that is all. Return the stream."""
        stream = self._h2.get_next_available_stream_id()
        all_headers = {":method": method, ":path": path, ":scheme": "https", ":authority": "localhost"}
        self._h2.send_headers(stream, list((all_headers | (headers or {})).items()), end_stream=end)
        self._tls.sendall(self._h2.data_to_send())
        return stream

    def reset(self, stream: int) -> None:
        """Take a request back."""
        self._h2.reset_stream(stream)
        self._ended.add(stream)
        self._tls.sendall(self._h2.data_to_send())

    def limit(self, name: h2.settings.SettingCodes) -> int:
        """Return what the other side has set."""
        return self._h2.remote_settings[name]

    def raise_limit(self, name: h2.settings.SettingCodes, value: int) -> None:
        """Take no notice of what the other side has set."""
        self._h2.remote_settings[name] = value
        self._h2.remote_settings.acknowledge()

    def is_answered(self, stream: int, *, within: float) -> bool:
        """Say whether an answer begins within so many seconds."""
        self._tls.settimeout(within)
        with contextlib.suppress(TimeoutError):
            while stream not in self._answers:
                for event in self._received():
                    self._take(event)
                self._tls.sendall(self._h2.data_to_send())
        self._tls.settimeout(None)
        return stream in self._answers

    def answer(self, stream: int, body: bytes = b"") -> tuple[int, bytes]:
        """Send a body, until it is sent or answered. Return the status and the body of the answer."""
        sent = 0
        while stream not in self._ended:
            while sent < len(body) and (window := self._h2.local_flow_control_window(stream)):
                portion = body[sent : sent + min(window, PORTION_BYTES)]
                sent += len(portion)
                self._h2.send_data(stream, portion, end_stream=sent == len(body))
            self._tls.sendall(self._h2.data_to_send())
            for event in self._received():
                self._take(event)
        return self._answers[stream]

    def _received(self) -> list[Any]:
        data = self._tls.recv(65_536)
        if not data:
            raise ConnectionError("the other side has closed")
        return self._h2.receive_data(data)

    def _take(self, event: Any) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self._answers[event.stream_id] = int(dict(event.headers)[":status"]), b""
        elif isinstance(event, h2.events.DataReceived):
            status, data = self._answers[event.stream_id]
            self._answers[event.stream_id] = status, data + event.data
        elif isinstance(event, h2.events.StreamEnded):
            self._ended.add(event.stream_id)
        if isinstance(event, h2.events.ConnectionTerminated):
            raise ConnectionError(event)
        # A stream that was answered before its request was through is reset, which says that nobody reads the rest.
        assert not isinstance(event, h2.events.StreamReset) or event.stream_id in self._ended, event


@contextlib.contextmanager
def connected(edge: Edge, certificate: Issued | None = None) -> Iterator[Connection]:
    """Connect over TLS."""
    context = edge.tls(certificate)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", edge.ports["https"]), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        yield Connection(tls)


def post(edge: Edge, path: str, body: bytes, certificate: Issued) -> tuple[int, bytes]:
    """Send a body, until it is sent or answered. Return the status and the body of the answer."""
    with connected(edge, certificate) as connection:
        return connection.answer(connection.begin("POST", path), body)
