"""Where a house keeps its data: a file of SQLite's, or a PostgreSQL database."""

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

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, url: str) -> "PostgresAddress":
        """Read a URL. Raises ValueError, with a text that repeats nothing of it, as any part may be of a password."""
        fault = "must be postgresql://USER:PASSWORD@HOST:PORT/NAME, with special characters of the password as %XX"
        try:
            parts = urlsplit(url)
            host, port, query = parts.hostname or "", parts.port, parse_qs(parts.query)
        except ValueError as error:
            raise ValueError(fault) from error
        name, host = parts.path.strip("/"), host or query.get("host", [""])[0]
        if parts.scheme not in SCHEMES or not name or "/" in name or parts.fragment or not url.isprintable():
            raise ValueError(fault)
        user = f"{parts.username}@" if parts.username else ""
        return cls(url, f"postgresql://{user}{host}{f':{port}' if port else ''}/{name}")


DatabaseAddress: TypeAlias = Path | PostgresAddress
"""A Path is the file of an SQLite database."""
