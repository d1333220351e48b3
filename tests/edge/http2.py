"""A client for HTTP/2 that reads while it sends, which httpx does not: a refusal comes before the body is through."""

import socket

import h2.config
import h2.connection
import h2.events

from tests.edge.conftest import Edge

PORTION_BYTES = 16_384


def post(edge: Edge, path: str, body: bytes) -> tuple[int, bytes]:
    """Send a body over TLS, until it is sent or answered. Return the status and the body of the answer."""
    context = edge.tls()
    context.set_alpn_protocols(["h2"])
    h2_connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    headers = {":method": "POST", ":path": path, ":scheme": "https", ":authority": "localhost"}
    with (
        socket.create_connection(("127.0.0.1", edge.ports["https"]), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        h2_connection.initiate_connection()
        h2_connection.send_headers(1, list(headers.items()))
        status, answer, sent = 0, b"", 0
        while True:
            while sent < len(body) and (window := h2_connection.local_flow_control_window(1)):
                portion = body[sent : sent + min(window, PORTION_BYTES)]
                sent += len(portion)
                h2_connection.send_data(1, portion, end_stream=sent == len(body))
            connection.sendall(h2_connection.data_to_send())
            for event in h2_connection.receive_data(connection.recv(65_536)):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[":status"])
                elif isinstance(event, h2.events.DataReceived):
                    answer += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    return status, answer
                assert not isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated), event
