"""Stats, and organizations that share theirs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

BYTEWISE = sa.String().with_variant(sa.String(collation="C"), "postgresql")
FIELDS = ("anr_number", "anr_uuid", "type", "day", "week", "month", "quarter", "year", "create_time")
SPARSE = ("anr_number", "anr_uuid", "quarter", "year")


def upgrade() -> None:
    """Create the table, and add the switch."""
    op.add_column("organizations", sa.Column("sharing", sa.Integer(), nullable=False, server_default="0"))
    op.create_index(
        "organizations_sharing",
        "organizations",
        ["id"],
        unique=False,
        sqlite_where=sa.text("sharing = 1"),
        postgresql_where=sa.text("sharing = 1"),
    )
    op.create_table(
        "stats",
        sa.Column("id", BYTEWISE, nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("uuid", BYTEWISE, nullable=False),
        sa.Column("anr_number", sa.BigInteger(), nullable=True),
        sa.Column("anr_uuid", BYTEWISE, nullable=True),
        sa.Column("type", BYTEWISE, nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("week", sa.BigInteger(), nullable=False),
        sa.Column("month", sa.BigInteger(), nullable=False),
        sa.Column("quarter", sa.BigInteger(), nullable=True),
        sa.Column("year", sa.BigInteger(), nullable=True),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("leaves", sa.String(), nullable=False),
        sa.Column("data", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("stats_in_order", "stats", ["organization_id", "id"], unique=False)
    op.create_index("stats_by_uuid", "stats", ["organization_id", "uuid"], unique=True)
    for name in FIELDS:
        where = sa.text(f"{name} IS NOT NULL") if name in SPARSE else None
        op.create_index(
            f"stats_by_{name}",
            "stats",
            ["organization_id", name, "id"],
            unique=False,
            sqlite_where=where,
            postgresql_where=where,
        )
