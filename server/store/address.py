"""Where a house keeps its data: a file of SQLite's, or a PostgreSQL database."""

import ipaddress
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True)
class PostgresAddress:
    """The address of a PostgreSQL database. Its text has no password and is fit for people and logs."""

    url: str = field(repr=False)
    text: str
    host: str = ""  # or the folder of a socket; empty: wherever the driver looks
    sslmode: str = ""

    def __str__(self) -> str:
        return self.text

    @property
    def is_exposed(self) -> bool:
        """Whether the URL leaves it open who answers, across a network: only `verify-full` is sure of the server."""
        if not self.host or self.host.startswith("/") or self.host == "localhost" or self.sslmode == "verify-full":
            return False
        with suppress(ValueError):
            return not ipaddress.ip_address(self.host).is_loopback
        return True

    @classmethod
    def parse(cls, url: str) -> "PostgresAddress":
        """Read a URL. Raises ValueError, with a text that repeats nothing of it, as any part may be of a password."""
        fault = "must be postgresql://USER:PASSWORD@HOST:PORT/NAME, with special characters of the password as %XX"
        try:
            parts = urlsplit(url)
            if "," in parts.netloc.rpartition("@")[2]:
                fault = "must name one host"
            host, port, query = parts.hostname or "", parts.port, parse_qs(parts.query)
            host.encode("idna")
        except ValueError as error:  # A UnicodeError is one, too.
            raise ValueError(fault) from error
        name, host = parts.path.strip("/"), host or query.get("host", [""])[0]
        if parts.scheme not in SCHEMES or not name or "/" in name or parts.fragment or not url.isprintable():
            raise ValueError(fault)
        user = f"{parts.username}@" if parts.username else ""
        where = f"[{host}]" if ":" in host else "" if host.startswith("/") else host
        where = f"{user}{where}{f':{port}' if port else ''}/{name}{f'?host={host}' if host.startswith('/') else ''}"
        return cls(url, f"postgresql://{where}", host, query.get("sslmode", [""])[0])


DatabaseAddress: TypeAlias = Path | PostgresAddress
"""A Path is the file of an SQLite database."""
