"""Counts of users: the only thing that looks at rows, and all it tells is anonymised.

A question about a version of a dataset has one answer, which is kept. To give it takes three steps, as counting a large
dataset takes longer than others may wait for a transaction that writes, and noise on a million buckets longer than
they may wait for the interpreter: `count` reads, `anonymise` works in a thread, `keep` pays for the answer and keeps
it. Who asks at once may count at once; the first to keep its draw has made the answer, and the others' draws are
forgotten unseen. Exact counts live in Exact and nowhere else: no reply, log or error may carry them.
"""

import hmac
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import orjson

from server.core import budgets
from server.core.budgets import budget_of
from server.core.columns import from_json, name_fault
from server.core.errors import DatasetNotFound, Fault, InvalidFields
from server.core.noise import Cost, cost, noisy
from server.core.questions import MAX_BIGINT, MAX_CATEGORY, Asking, Question, read_question
from server.core.results import MAX_CONTENT_BYTES
from server.store import counts as store
from server.store import datasets
from server.store.cells import Kind
from server.store.counts import TOO_LONG
from server.store.engine import Tx

_EXACT = 10**15  # Decimals of up to 15 digits and doubles correspond one to one (see store/counts.py).
_REST_BYTES = 1024  # What a result has beside its buckets takes less.
_BEYOND_TEXT = "The bucket is beyond those that fit into an answer: ask for fewer."
_TOO_LONG_TEXT = f"The value has more than {MAX_CATEGORY} characters."

Key = int | str
"""Of a bucket, as store/counts.py has it."""


class Answer(NamedTuple):
    """Anonymised counts of users, and what they cost in privacy."""

    label: str  # the column
    buckets: tuple[tuple[str, int], ...]  # (lower edge of the bin, or value; users), lowest first
    exceptions: tuple[tuple[str, int], ...]  # (why some users are in no bucket, users)
    cost: Cost


@dataclass(frozen=True)
class Unanswered:
    """A question that has no answer yet. Two are alike if they ask the same of the same version."""

    organization_id: int
    dataset_id: int
    version: int
    canonical: str
    asking: Asking = field(compare=False)


@dataclass(frozen=True, repr=False, slots=True)
class Exact:
    """Exact counts, on their way to `anonymise`. Nothing else looks into it."""

    asked: store.Asked
    question: Question
    asking: Asking
    counted: list[store.Counted]


@dataclass(frozen=True, repr=False, slots=True)
class Drawn:
    """An answer to a question that had none yet. Only `keep` looks into it: the answer may be another's by then."""

    dataset: str
    dataset_id: int
    version: int
    column: str
    question: str
    answer: str
    cost: Cost


async def check_question(tx: Tx, *, organization_id: int, parameters: Mapping[str, str]) -> tuple[Fault, ...]:
    """Return what is wrong with the parameters of a task cloak/histogram, by field paths of CreateTaskRequest."""
    faults = await _faults_of(tx, organization_id, parameters)
    return tuple(replace(one, field=f"task.parameters.{one.field}") for one in faults)


async def _faults_of(tx: Tx, organization_id: int, parameters: Mapping[str, str]) -> tuple[Fault, ...]:
    asking = Asking.read(parameters)
    if not isinstance(asking, Asking):
        return asking
    name = asking.dataset
    found = None if name_fault(name) else await datasets.by_name(tx, organization_id=organization_id, name=name)
    if found is None:
        return (Fault("dataset", "there is no such dataset"),)
    question = read_question(asking, from_json(found.columns))
    return () if isinstance(question, Question) else question


async def ask(tx: Tx, *, organization_id: int, asking: Asking) -> Answer | Unanswered:
    """Return the answer, if the question has one.

    Raises DatasetNotFound, InvalidFields (fields of Asking), BudgetExhausted (nothing is left for an answer).
    """
    found, question = await _read(tx, organization_id, asking)
    said = await store.kept(tx, dataset_id=found.id, version=found.version, question=question.canonical)
    if said is not None:
        return _answer(asking.column, said)
    budget_of(found).refuse_unless_left(cost(found.buckets_per_user), dataset=asking.dataset)
    return Unanswered(organization_id, found.id, found.version, question.canonical, asking)


async def count(tx: Tx, *, unanswered: Unanswered) -> Answer | Exact:
    """Count, unless there is an answer by now. Only reads. The dataset may have a later version by now; that counts.

    Raises DatasetNotFound, InvalidFields, BudgetExhausted (others have spent it meanwhile).
    """
    asking = unanswered.asking
    found, question = await _read(tx, unanswered.organization_id, asking)
    said = await store.kept(tx, dataset_id=found.id, version=found.version, question=question.canonical)
    if said is not None:
        return _answer(asking.column, said)
    budget_of(found).refuse_unless_left(cost(found.buckets_per_user), dataset=asking.dataset)
    counted = await store.count(
        tx,
        dataset_id=found.id,
        cell=question.cell,
        where=question.where,
        keys_per_user=found.buckets_per_user,
        # Which keys are a user's is always the same, and nobody without the secret can tell which.
        rank_key=hmac.digest(found.secret, question.canonical.encode(), "sha256"),
        **_keying(question),
    )
    return Exact(found, question, asking, counted)


def anonymise(exact: Exact) -> Drawn:
    """Return what shall be the answer. Takes a second for half a million buckets: for a thread."""
    asked, question = exact.asked, exact.question
    released = noisy(dict(sorted(bounded(exact).items())))
    too_long = released.pop(TOO_LONG, None)
    price = cost(asked.buckets_per_user)
    buckets = [(question.label(key), users) for key, users in released.items()]
    told = _as_many_as_fit(buckets, question.column.name)
    beyond = sum(users for _, users in buckets[told:])
    exceptions = ((_TOO_LONG_TEXT, too_long), (_BEYOND_TEXT, beyond))
    said = {
        "buckets": buckets[:told],
        "exceptions": [one for one in exceptions if one[1]],
        **price._asdict(),
    }
    answer = orjson.dumps(said).decode()
    return Drawn(exact.asking.dataset, asked.id, asked.version, question.column.name, question.canonical, answer, price)


def _as_many_as_fit(buckets: list[tuple[str, int]], label: str) -> int:
    """Return how many of the buckets a result of a task can hold.

    To refuse the others would tell something for nothing, and to take the price for a refusal would help nobody.
    """
    left = MAX_CONTENT_BYTES - _REST_BYTES
    for number, (value, users) in enumerate(buckets):
        left -= len(orjson.dumps((label, value, users))) + 1
        if left < 0:
            return number
    return len(buckets)


async def keep(tx: Tx, *, drawn: Drawn) -> Answer:
    """Pay for an answer, keep it and return it; if the question has one by now, return that.

    The question is about the version that was counted, also if there were uploads since. Raises DatasetNotFound,
    BudgetExhausted.
    """
    budget = await budgets.lock(tx, dataset_id=drawn.dataset_id)
    if budget is None:
        raise DatasetNotFound(drawn.dataset)
    said = await store.kept(tx, dataset_id=drawn.dataset_id, version=drawn.version, question=drawn.question)
    if said is None:
        said = drawn.answer
        budget.refuse_unless_left(drawn.cost, dataset=drawn.dataset)
        await budgets.spend(tx, dataset_id=drawn.dataset_id, cost=drawn.cost)
        await store.keep(tx, dataset_id=drawn.dataset_id, version=drawn.version, question=drawn.question, answer=said)
    return _answer(drawn.column, said)


async def _read(tx: Tx, organization_id: int, asking: Asking) -> tuple[store.Asked, Question]:
    name = asking.dataset
    found = None if name_fault(name) else await store.asked(tx, organization_id=organization_id, name=name)
    if found is None:
        raise DatasetNotFound(name)
    question = read_question(asking, from_json(found.columns))
    if not isinstance(question, Question):
        raise InvalidFields(question)
    return found, question


def _answer(column: str, kept: str) -> Answer:
    said = orjson.loads(kept)
    buckets, exceptions = (tuple(map(tuple, said.get(part, ()))) for part in ("buckets", "exceptions"))
    return Answer(column, buckets, exceptions, Cost(said["epsilon"], said["delta"]))


def bounded(exact: Exact) -> dict[Key, int]:
    """Return how many users there are under each key, each user under at most `buckets_per_user` keys."""
    counts: Counter[Key] = Counter()
    for key, far, users in exact.counted:
        counts[_whole(key, far)] += users
    return counts


def _whole(key: Key | None, far: str | None) -> Key:
    if key is not None:
        return key
    assert far is not None  # noqa: S101 - one of both: see Counted.
    return int(far)


def _keying(question: Question) -> dict[str, float]:
    """Return what makes keys of values; see store/counts.py."""
    if question.width is None:
        return {"longest": MAX_CATEGORY}
    p, q = question.width
    if question.cell.kind is Kind.REAL:
        edge = _EXACT // p * p / q
        return {"p": float(p), "q": float(q), "low": -edge, "high": math.nextafter(edge, 0)}
    most = MAX_BIGINT // p * p  # A value times q must be a number of 64 bits.
    return {"p": p, "q": q, "low": -(most // q), "high": -(-most // q) - 1}
