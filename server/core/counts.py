"""Counts of users by the bins of a number column: the only thing that looks at rows, and all it tells is anonymised.

A question is its canonical form and the version of its dataset, and has one answer, which is kept. It is drawn in a
scan, as counting a large dataset, or putting noise on a million bins, takes longer than others may wait for a
transaction that writes. Who asks at once may draw at once; the first to keep its draw has made the answer, and the
others' draws are forgotten unseen. Exact counts live in the scan and nowhere else: no reply, log or error may carry
them.
"""

import hmac
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import orjson

from server.core.columns import NUMBERS, WHOLE_NUMBERS, Column, from_json, name_fault
from server.core.errors import DatasetNotFound, Fault, InvalidFields
from server.core.noise import Cost, cost, noisy
from server.store import counts as store
from server.store import datasets
from server.store.engine import Tx

PARAMETERS = ("dataset", "column", "bin_width")  # of the action cloak/histogram

_NUMBER = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_MAX_DIGITS = 9  # significant ones, of a bin width
_MAX_DECIMALS = 9
_MAX_WIDTH = 10**15
_EXACT = 1e15  # Decimals of up to 15 digits and doubles correspond one to one (see store/counts.py).
_MAX_BIGINT = 2**63 - 1


class BinWidth(NamedTuple):
    """A decimal number p / q, where q is 1 or the least power of ten that makes p whole."""

    p: int
    q: int

    @staticmethod
    def read(text: str) -> "BinWidth | None":
        """Return the number that the text says; None if it says none that can be a width."""
        if not _NUMBER.fullmatch(text):
            return None
        _, digits, exponent = Decimal(text).as_tuple()
        assert isinstance(exponent, int)  # noqa: S101 - the pattern lets neither NaN nor infinities pass.
        significant = "".join(map(str, digits)).strip("0")
        if not 1 <= len(significant) <= _MAX_DIGITS:
            return None
        exponent += len(digits) - len("".join(map(str, digits)).rstrip("0"))
        if exponent < -_MAX_DECIMALS or exponent > len(str(_MAX_WIDTH)):
            return None
        width = BinWidth(int(significant) * 10 ** max(exponent, 0), 10 ** max(-exponent, 0))
        return width if width.p < _MAX_WIDTH else None

    def edge(self, number: int) -> str:
        """Return the lower edge of a bin, in plain digits."""
        whole, rest = divmod(abs(number * self.p), self.q)
        decimals = f"{rest:0{len(str(self.q)) - 1}d}".rstrip("0") if rest else ""
        return f"{'-' if number < 0 else ''}{whole}{'.' if decimals else ''}{decimals}"

    def number(self, value: float) -> int:
        """Return the number of the bin that a value is in; the value is the decimal that was uploaded."""
        return (Fraction(repr(value)) * self.q / self.p).__floor__()


class Answer(NamedTuple):
    """Anonymised counts of users, and what they cost in privacy."""

    label: str  # the column
    buckets: tuple[tuple[str, int], ...]  # (lower edge of the bin, users), lowest first
    cost: Cost


@dataclass(frozen=True, repr=False, slots=True)
class Drawn:
    """An answer to a question that had none yet. Only `keep` looks into it: the answer may be another's by then."""

    dataset: str
    dataset_id: int
    version: int
    column: str
    question: str
    answer: str


class _Question(NamedTuple):
    column: Column
    position: int  # of the column
    width: BinWidth

    def canonical(self) -> str:
        """Return the same text for all ways to ask the same thing."""
        return orjson.dumps({"bin_width": self.width.edge(1), "column": self.column.name}).decode()


async def check_question(tx: Tx, *, organization_id: int, parameters: Mapping[str, str]) -> tuple[Fault, ...]:
    """Return what is wrong with the parameters of a task cloak/histogram, by field paths of CreateTaskRequest."""
    path = "task.parameters."
    faults = [Fault(path + name, "is required") for name in PARAMETERS if not parameters.get(name)]
    faults += [Fault(path + name, "is not a parameter of this action") for name in parameters if name not in PARAMETERS]
    if faults:
        return tuple(faults)
    name = parameters["dataset"]
    found = None if name_fault(name) else await datasets.by_name(tx, organization_id=organization_id, name=name)
    if found is None:
        return (Fault(f"{path}dataset", "there is no such dataset"),)
    asked = _read(from_json(found.columns), column=parameters["column"], bin_width=parameters["bin_width"])
    return () if isinstance(asked, _Question) else tuple(Fault(path + one.field, one.description) for one in asked)


async def kept(tx: Tx, *, organization_id: int, dataset: str, column: str, bin_width: str) -> Answer | None:
    """Return the answer, if the question has one. Raises DatasetNotFound, InvalidFields (column, bin_width)."""
    found, question = await _ask(tx, organization_id, dataset, column, bin_width)
    said = await store.kept(tx, dataset_id=found.id, version=found.version, question=question.canonical())
    return None if said is None else _answer(column, said)


async def draw(tx: Tx, *, organization_id: int, dataset: str, column: str, bin_width: str) -> Answer | Drawn:
    """Return how many users fall into each bin, or what shall be the answer once it is kept. Only reads.

    Raises DatasetNotFound, InvalidFields (column, bin_width).
    """
    found, question = await _ask(tx, organization_id, dataset, column, bin_width)
    text = question.canonical()
    before = await store.kept(tx, dataset_id=found.id, version=found.version, question=text)
    if before is not None:
        return _answer(column, before)
    counts = await _count(tx, found, question)
    released = noisy(dict(sorted(counts.items())))
    said = {
        "buckets": [[question.width.edge(number), users] for number, users in released.items()],
        **cost(found.buckets_per_user)._asdict(),
    }
    return Drawn(dataset, found.id, found.version, column, text, orjson.dumps(said).decode())


async def _ask(
    tx: Tx, organization_id: int, dataset: str, column: str, bin_width: str
) -> tuple[store.Asked, _Question]:
    found = None if name_fault(dataset) else await store.asked(tx, organization_id=organization_id, name=dataset)
    if found is None:
        raise DatasetNotFound(dataset)
    question = _read(from_json(found.columns), column=column, bin_width=bin_width)
    if not isinstance(question, _Question):
        raise InvalidFields(question)
    return found, question


async def keep(tx: Tx, *, organization_id: int, drawn: Drawn) -> Answer:
    """Keep an answer and return it; if the question has one by now, return that. Raises DatasetNotFound.

    The question is about the version that was counted, also if there were uploads since.
    """
    if not await store.lock(tx, organization_id=organization_id, dataset_id=drawn.dataset_id):
        raise DatasetNotFound(drawn.dataset)
    said = await store.kept(tx, dataset_id=drawn.dataset_id, version=drawn.version, question=drawn.question)
    if said is None:
        said = drawn.answer
        await store.keep(tx, dataset_id=drawn.dataset_id, version=drawn.version, question=drawn.question, answer=said)
    return _answer(drawn.column, said)


def _answer(column: str, kept: str) -> Answer:
    said = orjson.loads(kept)
    return Answer(column, tuple(map(tuple, said["buckets"])), Cost(said["epsilon"], said["delta"]))


def _read(columns: tuple[Column, ...], *, column: str, bin_width: str) -> _Question | tuple[Fault, ...]:
    position = next((number for number, one in enumerate(columns) if one.name == column), None)
    width = BinWidth.read(bin_width)
    if position is not None and width and columns[position].type in NUMBERS:
        return _Question(columns[position], position, width)
    faults = []
    if position is None:
        faults.append(Fault("column", "the dataset has no such column"))
    elif columns[position].type not in NUMBERS:
        faults.append(Fault("column", f"holds no numbers: it is of type {columns[position].type.value}"))
    if not width:
        limits = f"at most {_MAX_DIGITS} digits, {_MAX_DECIMALS} of them decimals, below 1e{len(str(_MAX_WIDTH)) - 1}"
        faults.append(Fault("bin_width", f'must be a decimal number above 0 such as "10" or "0.5", with {limits}'))
    return tuple(faults)


async def _count(tx: Tx, asked: store.Asked, question: _Question) -> Counter[int]:
    """Return the exact count of users by the number of the bin, each user in at most `buckets_per_user` bins."""
    p, q = question.width
    where = {"dataset_id": asked.id, "position": question.position, "bins_per_user": asked.buckets_per_user}
    if question.column.type in WHOLE_NUMBERS:
        most = _MAX_BIGINT // q  # A value times q must be a number of 64 bits.
        counted = await store.count_whole_numbers(tx, **where, p=p, q=q, low=-most, high=most)
    else:
        most_exact = _EXACT / q
        counted = await store.count_decimals(tx, **where, p=float(p), q=float(q), low=-most_exact, high=most_exact)
    counts: Counter[int] = Counter()
    beyond: defaultdict[str, set[int]] = defaultdict(set)
    for one in counted:
        if one.user_id is None:
            assert one.bin is not None  # noqa: S101 - a bin, or a user's value: see Counted.
            assert one.users is not None  # noqa: S101 - as above.
            counts[one.bin] += one.users
        else:
            assert one.value is not None  # noqa: S101 - as above.
            beyond[one.user_id].add(question.width.number(one.value))
    key = hmac.digest(asked.secret, question.canonical().encode(), "sha256")
    for user_id, bins in beyond.items():
        counts.update(_chosen(key, user_id, bins, asked.buckets_per_user))
    return counts


def _chosen(key: bytes, user_id: str, bins: Iterable[int], most: int) -> list[int]:
    """Return the bins in which a user counts: always the same, and nobody without the key can tell which."""

    def rank(number: int) -> bytes:
        return hmac.digest(key, orjson.dumps([user_id, str(number)]), "sha256")

    return sorted(bins, key=rank)[:most]
