"""Certificates: of the authority, of the edge, and the keys that were issued."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from server.doctor.findings import Finding
from server.identity.authority import Authority, AuthorityUnavailable
from server.settings import Settings

SOON = timedelta(days=30)
REPLACE_AUTHORITY = "move ca.key and ca.pem away, start the house anew and issue every key again"


def check_certificates(settings: Settings) -> Iterator[Finding]:
    """Look at the authority's and the edge's certificates, as far as there are any yet."""
    data = settings.data
    if not (data / "ca.pem").exists():
        yield Finding("certificates", "there is no authority yet: `taskhouse up` makes it")
        return
    try:
        authority = Authority.open(data).certificate
    except AuthorityUnavailable as error:
        what, _, remedy = str(error).partition(": ")
        yield Finding("certificates", what, "nobody can be given a key, and the edge cannot be renewed", remedy)
        return
    yield from _lasting("the authority", data / "ca.pem", authority, REPLACE_AUTHORITY)
    edge = settings.https_certificate or data / "edge.pem"
    if not edge.exists():
        return
    try:
        found = x509.load_pem_x509_certificate(edge.read_bytes())
    except (OSError, ValueError):
        remedy = f"`rm {shlex.quote(str(edge))}`, and `taskhouse up` makes another"
        yield Finding("certificates", f"{edge} cannot be read as a certificate", "the edge cannot start", remedy)
        return
    renew = "get another one" if settings.https_certificate else "stop `taskhouse up` and start it again: it renews it"
    yield from _lasting("the edge", edge, found, renew)


def _lasting(whose: str, path: Path, certificate: x509.Certificate, remedy: str) -> Iterator[Finding]:
    now, end = datetime.now(UTC), certificate.not_valid_after_utc
    told = f"the certificate of {whose}, {path},"
    if certificate.not_valid_before_utc > now:
        yield Finding(
            "clock",
            f"{told} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%MZ} on: this clock is behind",
            "no client will connect, and new keys would be of the past",
            "set the clock: `timedatectl set-ntp true`",
        )
    elif end <= now:
        yield Finding("certificates", f"{told} ended on {end:%Y-%m-%d}", "no client can connect", remedy)
    elif end - now < SOON:
        yield Finding("certificates", f"{told} ends on {end:%Y-%m-%d}", "after that no client can connect", remedy)
    else:
        yield Finding("certificates", f"{told} is good until {end:%Y-%m-%d}")
