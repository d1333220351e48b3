"""The listeners: free before the house starts, answering while it runs."""

import http.client
import ssl
from collections.abc import Iterator

from server.doctor.findings import Finding
from server.listeners import listening
from server.settings import OFF, Settings, split_address

TIMEOUT_SECONDS = 3.0
_UNSPECIFIED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to be asked, not listened on.


def check_ports(settings: Settings, *, runs: bool, told: str) -> Iterator[Finding]:
    """Look at the listeners: where the running house `told` that they are, or where the settings want them."""
    wanted = {"http": settings.http, "https": settings.https}
    if runs:
        wanted |= {name: where for name, _, where in (one.partition("=") for one in told.split())}
    for name, url in wanted.items():
        address = url.removeprefix(f"{name}://")
        if address != OFF:
            yield _answering(name, address, settings) if runs else _free(name, address)


def _free(name: str, address: str) -> Finding:
    try:
        listening(*split_address(address)).close()
    except OSError as error:
        return Finding(
            "ports",
            f"{name}: cannot listen on {address}: {error.strerror}",
            "the house cannot start",
            f"`taskhouse up --{name} HOST:PORT` with another address, or end what listens there: `ss -ltnp`",
        )
    return Finding("ports", f"{name}: {address} is free")


def _answering(name: str, address: str, settings: Settings) -> Finding:
    host, port = split_address(address)
    host = _UNSPECIFIED.get(host, host)
    connection: http.client.HTTPConnection
    if name == "http":
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    else:
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=_context(settings))
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
        fault = f"answers with {status}" if status != http.client.OK else ""
    except (OSError, http.client.HTTPException) as error:
        fault = f"does not answer: {getattr(error, 'strerror', None) or error}"
    finally:
        connection.close()
    if not fault:
        return Finding("ports", f"{name}: the house answers on {address}")
    return Finding(
        "ports",
        f"{name}: {address} {fault}",
        "the house runs, but clients cannot use it",
        "see its standard error; if a part of it is stuck, stop `taskhouse up` with Ctrl-C and start it again",
    )


def _context(settings: Settings) -> ssl.SSLContext:
    """Trust this house alone, so that another one there is noticed; others judge a certificate that was bought."""
    own = settings.data / "ca.pem"
    if settings.https_certificate or not own.exists():
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    context = ssl.create_default_context(cafile=str(own))
    context.check_hostname = False
    return context
