"""All tables together, for the migrations and for whoever needs to know the whole schema."""

from sqlmodel import SQLModel

from server.store import (
    accounts,
    catalogue,
    changes,
    channels,
    chunks,
    credentials,
    datasets,
    deliveries,
    events,
    organizations,
    results,
    retention,
    rules,
    stats,
    tasks,
    uploads,
    work,
)

__all__ = [
    "METADATA",
    "accounts",
    "catalogue",
    "changes",
    "channels",
    "chunks",
    "credentials",
    "datasets",
    "deliveries",
    "events",
    "organizations",
    "results",
    "retention",
    "rules",
    "stats",
    "tasks",
    "uploads",
    "work",
]

METADATA = SQLModel.metadata
