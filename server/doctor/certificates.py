"""Certificates: of the authority, of the edge, and the keys that were issued."""

import os
import shlex
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from server.doctor.findings import Finding
from server.edge import ConfigurationRefused, check_certificate
from server.identity.authority import Authority, AuthorityUnavailable
from server.settings import Settings

SOON = timedelta(days=30)
REPLACE_AUTHORITY = "move ca.key and ca.pem away, start the house anew and issue every key again"


def check_certificates(settings: Settings) -> Iterator[Finding]:
    """Look at the edge's certificate, if one is configured, and at those of the house, as far as there are any yet."""
    if settings.https_certificate and settings.https_key:
        yield from _configured(settings.https_certificate, settings.https_key)
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
    own = data / "edge.pem"
    if settings.https_certificate or not own.exists():
        return
    try:
        found = x509.load_pem_x509_certificate(own.read_bytes())
    except (OSError, ValueError):
        remedy = f"`rm {shlex.quote(str(own))}`, and `taskhouse up` makes another"
        yield Finding("certificates", f"{own} cannot be read as a certificate", "the edge cannot start", remedy)
        return
    yield from _lasting("the edge", own, found, "stop `taskhouse up` and start it again: it renews it")


def _configured(path: Path, private_key: Path) -> Iterator[Finding]:
    try:
        check_certificate(path, private_key)
    except ConfigurationRefused as refusal:
        remedy = "put the right files where https_certificate and https_key say, or change these settings"
        yield Finding("certificates", str(refusal), "the edge cannot start, or shows clients the pair before", remedy)
        return
    yield from _lasting("the edge", path, x509.load_pem_x509_certificate(path.read_bytes()), "get another one")
    found = private_key.stat()
    why, quoted = "whoever has the key can be the house", shlex.quote(str(private_key))
    if found.st_mode & 0o037:  # Its group may read it: that is how some tools of ACME share it.
        told = f"{private_key} is open to other users (mode {stat.S_IMODE(found.st_mode):o})"
        yield Finding("certificates", told, why, f"`chmod 600 {quoted}`")
    if found.st_uid not in (0, os.geteuid()):
        told = f"{private_key} belongs to another user (number {found.st_uid})"
        yield Finding("certificates", told, why, f"`sudo chown {os.geteuid()} {quoted}`")


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
