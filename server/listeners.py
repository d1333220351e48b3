"""TCP addresses to listen on."""

import socket


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the address. Raises OSError if another process does, or it is none of ours."""
    family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    probe = socket.socket(family, kind)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(where)
        probe.listen(1)  # A port that another process listens on with SO_REUSEPORT can be bound, but not listened on.
    except OSError:
        probe.close()
        raise
    return probe
