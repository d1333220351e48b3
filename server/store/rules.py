"""Rules: each one's JSON document, with what it is found by beside it."""

from typing import Any, NamedTuple

from sqlalchemy import BigInteger, BindParameter, Integer, bindparam, cast, delete, func, insert, select, text, update
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, reference, table_of
from server.store.engine import Command, Query, Tx


class RuleRow(SQLModel, table=True):
    """A rule."""

    __tablename__ = "rules"
    __table_args__ = (Index("rules_by_name", "organization_id", "display_name", unique=True),)

    organization_id: int = reference("organizations.id", primary_key=True)
    id: str = Field(primary_key=True)
    display_name: str  # as names are compared; the document has it as it was given
    document: str  # JSON, as core has it
    bytes: int  # of the document
    etag: str
    create_time: int = micros()
    update_time: int = micros()


RULES = table_of(RuleRow)
_R = RULES.c


class Stored(NamedTuple):
    """A rule."""

    id: str
    display_name: str
    document: str
    etag: str
    create_time: int
    update_time: int


class Size(NamedTuple):
    """How large a rule's document is."""

    bytes: int


class Total(NamedTuple):
    """How many rules there are, and how large all of them are."""

    rules: int
    bytes: int


class Documents(NamedTuple):
    """The documents of several rules."""

    documents: str


_STORED = select(*(_R[name] for name in Stored._fields))
_MINE = _R.organization_id == bindparam("organization_id")
_ONE = (_MINE, _R.id == bindparam("rule_id"))
_NEXT = (_MINE, _R.id > bindparam("after"))
_MOST = bindparam("most", type_=Integer)
_VALUES: dict[str, BindParameter[Any]] = {
    name: bindparam(f"new_{name}") for name in ("display_name", "document", "bytes", "etag", "update_time")
}

_BY_ID = Query(_STORED.where(*_ONE), Stored)
_BY_NAME = Query(_STORED.where(_MINE, _R.display_name == bindparam("display_name")), Stored)
_PAGE = Query(_STORED.where(*_NEXT).order_by(_R.id).limit(_MOST), Stored)
_SIZES = Query(select(_R.bytes).where(*_NEXT).order_by(_R.id).limit(_MOST), Size)
_TOTAL = Query(select(func.count(), cast(func.coalesce(func.sum(_R.bytes), 0), BigInteger)).where(_MINE), Total)
# Texts of a subquery are joined in its order, on both engines.
_SORTED = select(_R.document).where(_MINE).order_by(_R.id).subquery()
_DOCUMENTS = Query(select(func.coalesce(func.string_agg(_SORTED.c.document, text("','")), "")), Documents)
_ADD = Command(
    insert(RULES).values(
        organization_id=bindparam("organization_id"),
        id=bindparam("rule_id"),
        create_time=bindparam("create_time"),
        **_VALUES,
    )
)
_PUT = Command(update(RULES).where(*_ONE).values(_VALUES))
_REMOVE = Command(delete(RULES).where(*_ONE))


async def by_id(tx: Tx, *, organization_id: int, rule_id: str) -> Stored | None:
    """Return the organization's rule of this id."""
    return await tx.one(_BY_ID, organization_id=organization_id, rule_id=rule_id)


async def by_name(tx: Tx, *, organization_id: int, display_name: str) -> Stored | None:
    """Return the organization's rule of this name."""
    return await tx.one(_BY_NAME, organization_id=organization_id, display_name=display_name)


async def page(tx: Tx, *, organization_id: int, after: str, most: int) -> list[Stored]:
    """Return up to `most` rules whose ids come after `after`, in order of their ids."""
    return await tx.all(_PAGE, organization_id=organization_id, after=after, most=most)


async def sizes(tx: Tx, *, organization_id: int, after: str, most: int) -> list[Size]:
    """Return the sizes of what `page` returns."""
    return await tx.all(_SIZES, organization_id=organization_id, after=after, most=most)


async def total(tx: Tx, *, organization_id: int) -> Total:
    """Return how much there is of the organization's rules."""
    found = await tx.one(_TOTAL, organization_id=organization_id)
    assert found is not None  # noqa: S101 - an aggregate always has its row.
    return found


async def documents(tx: Tx, *, organization_id: int) -> str:
    """Return the documents of all of the organization's rules, in order of their ids, with commas between them."""
    found = await tx.one(_DOCUMENTS, organization_id=organization_id)
    assert found is not None  # noqa: S101 - an aggregate always has its row.
    return found.documents


async def add(tx: Tx, *, organization_id: int, rule: Stored) -> None:
    """Add a rule. The id and the name must be free."""
    await tx.run(_ADD, **_named(organization_id, rule), create_time=rule.create_time)


async def put(tx: Tx, *, organization_id: int, rule: Stored) -> None:
    """Replace a rule; its create_time stays. The name must be free."""
    await tx.run(_PUT, **_named(organization_id, rule))


async def remove(tx: Tx, *, organization_id: int, rule_id: str) -> None:
    """Remove a rule."""
    await tx.run(_REMOVE, organization_id=organization_id, rule_id=rule_id)


def _named(organization_id: int, rule: Stored) -> dict[str, str | int]:
    return {
        "organization_id": organization_id,
        "rule_id": rule.id,
        "new_display_name": rule.display_name,
        "new_document": rule.document,
        "new_bytes": len(rule.document.encode()),
        "new_etag": rule.etag,
        "new_update_time": rule.update_time,
    }
