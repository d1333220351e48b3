"""The listeners: free before the house starts, answering while it runs."""

import http.client
import ssl
from collections.abc import Iterator

from server.doctor.findings import Finding
from server.doctor.running import TIMEOUT_SECONDS, Running
from server.listeners import listening
from server.settings import OFF, Settings, split_address

_UNSPECIFIED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to be asked, not listened on.


def check_ports(settings: Settings, running: Running, *, told: str) -> Iterator[Finding]:
    """Look at the listeners: where `taskhouse up` told that they are, or where the settings want them."""
    wanted = {"http": settings.http, "https": settings.https}
    wanted |= {name: where for name, _, where in (one.partition("=") for one in told.split())}
    for name, url in wanted.items():
        address = url.removeprefix(f"{name}://")
        if address != OFF:
            yield _answering(name, address, settings, running) if running.house else _free(name, address, settings)


def _free(name: str, address: str, settings: Settings) -> Finding:
    try:
        listening(*split_address(address)).close()
    except OSError as error:
        if name == "https" and _is_known(settings) and not _fault(name, address, settings):
            return Finding("ports", f"https: this house answers on {address}")
        return Finding(
            "ports",
            f"{name}: cannot listen on {address}: {error.strerror}",
            "the house cannot start",
            f"`taskhouse up --{name} HOST:PORT` with another address, or end what listens there: `ss -ltnp`",
        )
    return Finding("ports", f"{name}: {address} is free")


def _answering(name: str, address: str, settings: Settings, running: Running) -> Finding:
    fault = _fault(name, address, settings)
    if not fault:
        return Finding("ports", f"{name}: the house answers on {address}")
    if running.is_up:
        remedy = "see its standard error; if a part of it is stuck, stop `taskhouse up` with Ctrl-C and start it again"
    else:
        remedy = "see what `taskhouse edge` and `taskhouse serve` have logged, and start the one that does not run"
    return Finding("ports", f"{name}: {address} {fault}", "the house runs, but clients cannot use it", remedy)


def _fault(name: str, address: str, settings: Settings) -> str:
    """Ask for the house's health; return what is wrong with the answer."""
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
    except (OSError, http.client.HTTPException) as error:
        return f"does not answer: {getattr(error, 'strerror', None) or error}"
    finally:
        connection.close()
    return f"answers with {status}" if status != http.client.OK else ""


def _is_known(settings: Settings) -> bool:
    """Say whether this house can be told from others by its certificate."""
    return not settings.https_certificate and (settings.data / "ca.pem").exists()


def _context(settings: Settings) -> ssl.SSLContext:
    """Trust this house alone, so that another one there is noticed; others judge a certificate that was bought."""
    if not _is_known(settings):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    context = ssl.create_default_context(cafile=str(settings.data / "ca.pem"))
    context.check_hostname = False
    return context
