"""Events are chained by their digests, and say which host has recorded them."""

import hashlib

import orjson
import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_FIELDS = (
    *("log_id", "sequence", "event_time", "host", "actor_id", "actor_name", "action", "object_kind", "object_id"),
    *("before", "after", "reason"),
)
_DIGESTED = sa.table("events", *map(sa.column, (*_FIELDS, "digest")))
_LOGS = sa.table("event_logs", sa.column("id"), sa.column("digest"))


def upgrade() -> None:
    """Add what is missing, and chain what is there."""
    op.add_column("event_logs", sa.Column("digest", sa.LargeBinary(), nullable=False, server_default=""))
    op.add_column("events", sa.Column("host", sa.String(), nullable=False, server_default=""))
    op.add_column("events", sa.Column("digest", sa.LargeBinary(), nullable=False, server_default=""))
    op.add_column("events", sa.Column("seal", sa.LargeBinary(), nullable=False, server_default=""))
    op.create_index("events_of_object", "events", ["log_id", "object_kind", "object_id", "sequence"], unique=False)
    connection = op.get_bind()
    for (log_id,) in connection.execute(sa.select(_LOGS.c.id)).all():
        digest = bytes(32)
        of_log = sa.select(*(_DIGESTED.c[name] for name in _FIELDS)).where(_DIGESTED.c.log_id == log_id)
        for event in connection.execute(of_log.order_by(_DIGESTED.c.sequence)).all():
            digest = hashlib.sha256(digest + orjson.dumps(list(event))).digest()
            own = sa.and_(_DIGESTED.c.log_id == log_id, _DIGESTED.c.sequence == event.sequence)
            connection.execute(sa.update(_DIGESTED).where(own).values(digest=digest))
        connection.execute(sa.update(_LOGS).where(_LOGS.c.id == log_id).values(digest=digest))
