"""The catalogue."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create its tables."""
    op.create_table(
        "catalogue_services",
        sa.Column("slug", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("folded", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("slug"),
        sa.UniqueConstraint("folded"),
    )
    op.create_table(
        "catalogue_actions",
        sa.Column("service", sa.String(), nullable=False),
        sa.Column("slug", sa.String(), nullable=False),
        sa.Column("definition", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["service"], ["catalogue_services.slug"]),
        sa.PrimaryKeyConstraint("service", "slug"),
    )
