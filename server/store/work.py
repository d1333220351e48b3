"""Workers' sessions."""

from sqlmodel import Field, SQLModel

from server.store.columns import micros


class SessionRow(SQLModel, table=True):
    """A worker that holds, or may hold, leases."""

    __tablename__ = "worker_sessions"

    id: str = Field(primary_key=True)
    credential_id: str = Field(foreign_key="credentials.id")
    worker: str
    expire_time: int = micros()  # moved on by each renewal
