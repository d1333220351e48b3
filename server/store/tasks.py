"""Tasks."""

from sqlalchemy import text
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, reference


class TaskRow(SQLModel, table=True):
    """Asked work."""

    __tablename__ = "tasks"
    __table_args__ = (
        # Live tasks only, so that leasing costs the same however many are over.
        Index(
            "tasks_to_lease",
            "service",
            "action",
            "ready_time",
            "id",
            sqlite_where=text("state = 'PENDING'"),
            postgresql_where=text("state = 'PENDING'"),
        ),
        Index(
            "tasks_of_session",
            "session_id",
            sqlite_where=text("session_id IS NOT NULL"),
            postgresql_where=text("session_id IS NOT NULL"),
        ),
        Index("tasks_of_organization", "organization_id", "id"),
        Index(
            "tasks_by_request",
            "organization_id",
            "request_id",
            unique=True,
            sqlite_where=text("request_id IS NOT NULL"),
            postgresql_where=text("request_id IS NOT NULL"),
        ),
    )

    id: str = Field(primary_key=True)
    organization_id: int = reference("organizations.id")
    service: str
    action: str
    parameters: str  # JSON: {name: text}
    state: str  # see core/tasks.py
    attempt: int  # how many leases were granted: the fence
    failures: int  # how many attempts count against the limit
    error: str | None  # of the last failed attempt, or why it was cancelled
    result_count: int
    session_id: str | None  # the worker's session, while RUNNING
    request_id: str | None
    request_digest: bytes | None  # of what was asked under request_id
    ready_time: int = micros()  # not leased before
    create_time: int = micros()
    start_time: int | None = micros(nullable=True)
    end_time: int | None = micros(nullable=True)
