"""Retrieval of results, who submitted a task, and what tokens of asapi may ask for."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Leave all that there is as it is."""
    op.add_column("credentials", sa.Column("allowed", sa.String(), nullable=True))
    op.add_column("tasks", sa.Column("retrieval", sa.String(), server_default="pages", nullable=False))
    op.add_column("tasks", sa.Column("credential_id", sa.String(), nullable=True))
    op.add_column("tasks", sa.Column("account", sa.String(), nullable=True))
    unfinished = sa.text("end_time IS NULL")
    op.create_index(
        "tasks_unfinished",
        "tasks",
        ["organization_id", "service", "account"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
