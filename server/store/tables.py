"""All tables together, for the migrations and for whoever needs to know the whole schema."""

from sqlmodel import SQLModel

from server.store import (
    credentials,
    datasets,
    events,
    organizations,
    results,
    retention,
    tasks,
    uploads,
    work,
)

__all__ = [
    "METADATA",
    "credentials",
    "datasets",
    "events",
    "organizations",
    "results",
    "retention",
    "tasks",
    "uploads",
    "work",
]

METADATA = SQLModel.metadata
