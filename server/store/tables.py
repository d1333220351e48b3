"""All tables together, for the migrations and for whoever needs to know the whole schema."""

from sqlmodel import SQLModel

from server.store import credentials, datasets, events, organizations, results, tasks, work

__all__ = ["METADATA", "credentials", "datasets", "events", "organizations", "results", "tasks", "work"]

METADATA = SQLModel.metadata
