"""Privacy budgets of datasets."""

import json
import math

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"

DEFAULT_EPSILON = 20_000_000  # in millionths, as it was when budgets began


def upgrade() -> None:
    """Give every dataset the default budget, and have it spent what its answers cost so far."""
    op.add_column(
        "datasets", sa.Column("budget_epsilon", sa.BigInteger(), nullable=False, server_default=str(DEFAULT_EPSILON))
    )
    op.add_column("datasets", sa.Column("spent_epsilon", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("datasets", sa.Column("spent_delta", sa.BigInteger(), nullable=False, server_default="0"))
    connection = op.get_bind()
    answers = connection.execute(sa.text("SELECT dataset_id, answer FROM answers"))
    spent: dict[int, tuple[int, int]] = {}
    for dataset_id, answer in answers:
        cost = json.loads(answer)
        epsilon, delta = spent.get(dataset_id, (0, 0))
        epsilon += math.ceil(cost["epsilon"] * 10**6)
        delta += math.ceil(cost["delta"] * 10**12)
        spent[dataset_id] = (epsilon, delta)
    for dataset_id, (epsilon, delta) in spent.items():
        connection.execute(
            sa.text("UPDATE datasets SET spent_epsilon = :epsilon, spent_delta = :delta WHERE id = :id"),
            {"epsilon": epsilon, "delta": delta, "id": dataset_id},
        )
