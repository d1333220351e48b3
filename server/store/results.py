"""Results: published outcomes of tasks."""

from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, reference


class ResultRow(SQLModel, table=True):
    """One published outcome of a task. Its organization is the task's."""

    __tablename__ = "results"
    __table_args__ = (
        Index("results_of_task", "task_id", "publish_time", "id"),
        Index("results_by_number", "task_id", "number", unique=True),
    )

    id: str = Field(primary_key=True)
    organization_id: int = reference("organizations.id")
    task_id: str = Field(foreign_key="tasks.id")
    number: int  # as its worker numbered it
    publish_time: int = micros()
    content: str  # JSON: {"buckets": [[label, value or null, count], ...], "exceptions": [[error, count], ...]}
