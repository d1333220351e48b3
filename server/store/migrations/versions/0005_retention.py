"""What sweeping needs: which tasks are over, which of them have results left, and who sweeps."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Nothing was removed so far."""
    op.add_column("tasks", sa.Column("removed_count", sa.Integer(), server_default=sa.text("0"), nullable=False))
    for name, condition in (
        ("tasks_to_sweep", sa.text("end_time IS NOT NULL")),
        ("results_to_sweep", sa.text("end_time IS NOT NULL AND result_count > removed_count")),
    ):
        op.create_index(name, "tasks", ["end_time", "id"], sqlite_where=condition, postgresql_where=condition)
    retention = op.create_table(
        "retention",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("due_time", sa.BigInteger(), nullable=False),
        sa.Column("begin_time", sa.BigInteger(), nullable=True),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("results", sa.Integer(), nullable=False),
        sa.Column("tasks", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.bulk_insert(retention, [{"id": 1, "holder": "", "due_time": 0, "results": 0, "tasks": 0}])
