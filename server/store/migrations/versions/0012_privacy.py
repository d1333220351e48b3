"""Answers cost more than they said; and uploads know when they last got rows.

OpenDP let counts pass that were equal to the threshold, while the delta that it stated was of those above it alone
(opendp#2922). Answers that were drawn so cost up to e ** 0.5 times that delta, whatever their buckets a user.
"""

import json
import math
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

TRUE_DELTA = math.exp(0.5)  # One user less of noise, of scale 2, is so much more probable.
DATASETS = sa.table("datasets", sa.column("id"), sa.column("spent_delta"))
KEY: tuple[sa.ColumnClause[Any], ...] = (sa.column("dataset_id"), sa.column("version"), sa.column("question"))
ANSWERS = sa.table("answers", *KEY, sa.column("answer"))


def upgrade() -> None:
    """Correct what is told of answers and budgets, and date uploads from when they began."""
    _correct(op.get_bind())
    op.add_column("uploads", sa.Column("active_time", sa.BigInteger(), server_default="0", nullable=False))
    op.execute("UPDATE uploads SET active_time = create_time")
    unfinished = sa.text("(settled = 0 OR acknowledged_rows = 0)")
    op.create_index(
        "uploads_to_settle", "uploads", ["active_time"], sqlite_where=unfinished, postgresql_where=unfinished
    )


def _correct(connection: sa.Connection) -> None:
    for id_, spent in connection.execute(sa.select(DATASETS.c.id, DATASETS.c.spent_delta)).all():
        corrected = sa.update(DATASETS).where(DATASETS.c.id == id_).values(spent_delta=math.ceil(spent * TRUE_DELTA))
        connection.execute(corrected)
    for key in connection.execute(sa.select(*KEY).select_from(ANSWERS)).all():
        this = sa.and_(*(column == value for column, value in zip(KEY, key, strict=True)))
        answer = json.loads(connection.execute(sa.select(ANSWERS.c.answer).where(this)).scalar_one())
        answer["delta"] *= TRUE_DELTA
        told = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
        connection.execute(sa.update(ANSWERS).where(this).values(answer=told))
