"""All tables together, for the migrations and for whoever needs to know the whole schema."""

from sqlmodel import SQLModel

from server.store import (
    accounts,
    catalogue,
    credentials,
    datasets,
    events,
    organizations,
    results,
    retention,
    stats,
    tasks,
    uploads,
    work,
)

__all__ = [
    "METADATA",
    "accounts",
    "catalogue",
    "credentials",
    "datasets",
    "events",
    "organizations",
    "results",
    "retention",
    "stats",
    "tasks",
    "uploads",
    "work",
]

METADATA = SQLModel.metadata
