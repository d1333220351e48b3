"""What datasets may spend of their users' privacy, and have spent. The units are core/budgets.py's."""

from typing import NamedTuple, Protocol

from sqlalchemy import bindparam, select, update

from server.store.datasets import DATASETS
from server.store.engine import Command, Query, Tx

_D = DATASETS.c


class Budgeted(Protocol):
    """A stored budget, and whatever else."""

    @property
    def budget_epsilon(self) -> int:
        """What may be spent in all."""

    @property
    def spent_epsilon(self) -> int:
        """What is spent."""

    @property
    def spent_delta(self) -> int:
        """What is spent."""


class _Stored(NamedTuple):
    budget_epsilon: int
    spent_epsilon: int
    spent_delta: int


_LOCK = Query(
    select(_D.budget_epsilon, _D.spent_epsilon, _D.spent_delta)
    .where(_D.id == bindparam("dataset_id"))
    .with_for_update(),
    _Stored,
)
_SPEND = Command(
    update(DATASETS)
    .where(_D.id == bindparam("dataset_id"))
    .values(
        spent_epsilon=_D.spent_epsilon + bindparam("more_epsilon"),
        spent_delta=_D.spent_delta + bindparam("more_delta"),
    )
)
_SET = Command(update(DATASETS).where(_D.id == bindparam("dataset_id")).values(budget_epsilon=bindparam("new_epsilon")))


async def lock(tx: Tx, *, dataset_id: int) -> Budgeted | None:
    """Return the budget and let nobody else have it until the commit; None if there is no such dataset."""
    return await tx.one(_LOCK, dataset_id=dataset_id)


async def spend(tx: Tx, *, dataset_id: int, epsilon: int, delta: int) -> None:
    """Add to what is spent."""
    await tx.run(_SPEND, dataset_id=dataset_id, more_epsilon=epsilon, more_delta=delta)


async def set_epsilon(tx: Tx, *, dataset_id: int, epsilon: int) -> None:
    """Change what may be spent in all."""
    await tx.run(_SET, dataset_id=dataset_id, new_epsilon=epsilon)
