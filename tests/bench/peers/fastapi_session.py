"""How the peers on FastAPI reach the house's SQLite file: a session a call, as durable as the house's own writes."""

import os
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends
from sqlalchemy import Engine, event
from sqlmodel import Session, create_engine

engine: Engine = create_engine(f"sqlite:///{os.environ['DATABASE_FILE']}", connect_args={"check_same_thread": False})


@event.listens_for(engine, "connect")
def durable(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=30000")


def session() -> Iterator[Session]:
    with Session(engine) as opened:
        yield opened


Opened = Annotated[Session, Depends(session)]
