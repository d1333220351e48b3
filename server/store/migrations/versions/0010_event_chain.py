"""Events are chained by their digests, and say which host has recorded them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add what is missing. There are no events yet: none were recorded before a taskhouse that knows this."""
    op.add_column("event_logs", sa.Column("digest", sa.LargeBinary(), nullable=False, server_default=""))
    op.add_column("events", sa.Column("host", sa.String(), nullable=False, server_default=""))
    op.add_column("events", sa.Column("digest", sa.LargeBinary(), nullable=False, server_default=""))
    op.add_column("events", sa.Column("seal", sa.LargeBinary(), nullable=False, server_default=""))
    op.create_index("events_of_object", "events", ["log_id", "object_kind", "object_id", "sequence"], unique=False)
