"""Privacy budgets: how much of its users' privacy a dataset may give away over all answers, and how much it has.

What answers cost adds up: after answers of (e1, d1), (e2, d2), … all that was told of a user is
(e1 + e2 + …, d1 + d2 + …)-differentially private, whichever questions they were and however the dataset grew between
them. So a dataset has one budget for all of its versions, and only an operator can change it. The budget is of
epsilon; delta has none of its own, as each answer's is a fixed part of its epsilon, and is added up for whoever
wants to know.

Sums are kept in whole millionths of epsilon and whole millionths of millionths of delta, rounded up.
"""

import math
from typing import NamedTuple

from server.core import organizations
from server.core.caller import Caller
from server.core.columns import name_fault
from server.core.errors import BudgetExhausted, DatasetNotFound, invalid
from server.core.events import Object, record
from server.core.noise import Cost
from server.store import budgets as store
from server.store import datasets
from server.store.engine import Tx

DEFAULT_EPSILON = 20.0
MAX_EPSILON = 1e6
_EPSILON_UNITS = 10**6  # in 1
_DELTA_UNITS = 10**12  # in 1


class Budget(NamedTuple):
    """What a dataset may spend, and what it has spent, as it is stored."""

    epsilon_units: int
    spent_epsilon_units: int
    spent_delta_units: int

    @property
    def epsilon(self) -> float:
        """What all answers together may cost."""
        return self.epsilon_units / _EPSILON_UNITS

    @property
    def spent(self) -> Cost:
        """What the answers that were given cost together."""
        return Cost(self.spent_epsilon_units / _EPSILON_UNITS, self.spent_delta_units / _DELTA_UNITS)

    def refuse_unless_left(self, cost: Cost, *, dataset: str) -> None:
        """Raise BudgetExhausted if this is more than is left."""
        left = max(0, self.epsilon_units - self.spent_epsilon_units)
        if _epsilon_units(cost.epsilon) > left:
            raise BudgetExhausted(dataset, f"{cost.epsilon:g}", f"{left / _EPSILON_UNITS:g}")


DEFAULT = Budget(int(DEFAULT_EPSILON * _EPSILON_UNITS), 0, 0)


async def lock(tx: Tx, *, dataset_id: int) -> Budget | None:
    """Return a dataset's budget, which nobody else spends until the commit; None if there is no such dataset."""
    found = await store.lock(tx, dataset_id=dataset_id)
    return None if found is None else budget_of(found)


async def spend(tx: Tx, *, dataset_id: int, cost: Cost) -> None:
    """Take a cost from a budget that is locked and has as much left."""
    delta = math.ceil(cost.delta * _DELTA_UNITS)
    await store.spend(tx, dataset_id=dataset_id, epsilon=_epsilon_units(cost.epsilon), delta=delta)


async def set_budget(tx: Tx, *, caller: Caller, organization: str, dataset: str, epsilon: float) -> Budget:
    """Change what a dataset may spend in all, what it has spent included, and leave an event.

    Raises InvalidFields, OrganizationNotFound, DatasetNotFound.
    """
    if not 0 <= epsilon <= MAX_EPSILON:
        raise invalid("epsilon", f"must be 0 to {MAX_EPSILON:,.0f}")
    owner = await organizations.get(tx, caller=caller, name=organization)
    found = None if name_fault(dataset) else await datasets.by_name(tx, organization_id=owner.id, name=dataset)
    if found is None:
        raise DatasetNotFound(dataset)
    before = budget_of(found)
    after = before._replace(epsilon_units=round(epsilon * _EPSILON_UNITS))
    if after != before:
        await store.set_epsilon(tx, dataset_id=found.id, epsilon=after.epsilon_units)
        await record(
            tx,
            organization_id=owner.id,
            actor=caller,
            action="dataset.budget_set",
            object=Object("dataset", dataset),
            before={"epsilon": before.epsilon},
            after={"epsilon": after.epsilon},
        )
    return after


def budget_of(stored: store.Budgeted) -> Budget:
    """Return the budget of a dataset."""
    return Budget(stored.budget_epsilon, stored.spent_epsilon, stored.spent_delta)


def _epsilon_units(epsilon: float) -> int:
    return math.ceil(epsilon * _EPSILON_UNITS)
