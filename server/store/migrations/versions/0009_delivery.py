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
    op.create_table(
        "deliveries",
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("credential_id", sa.String(), nullable=False),
        sa.Column("retrieval", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("unstorable", sa.Integer(), nullable=False),
        sa.Column("retrieved", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("content_type", sa.String(), nullable=False),
        sa.Column("filename", sa.String(), nullable=True),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.Column("claim_until", sa.BigInteger(), nullable=False),
        sa.Column("available_time", sa.BigInteger(), nullable=False),
        sa.Column("rest", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("task_id"),
    )
    for name, columns, condition in (
        ("on_channels", ["credential_id", "available_time"], "state = 'AVAILABLE' AND retrieval = 'aschannel'"),
        ("in_store", ["available_time"], "state = 'AVAILABLE' AND retrieval = 'asstore'"),
        ("claimed", ["claim_until"], "state = 'CLAIMED'"),
    ):
        where = sa.text(condition)
        op.create_index(
            f"deliveries_{name}", "deliveries", [*columns, "task_id"], sqlite_where=where, postgresql_where=where
        )
    op.create_table(
        "chunks",
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "attempt", "number"),
    )
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "leftovers",
        sa.Column("id", serial, nullable=False),
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "channels",
        sa.Column("credential_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("attach_time", sa.BigInteger(), nullable=False),
        sa.Column("listening_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("credential_id"),
    )
    op.create_index("channels_by_attach_time", "channels", ["attach_time"])
