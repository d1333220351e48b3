"""Uploads that come as streams: how many of an upload's rows are stored, and which of its streams may go on."""

from typing import NamedTuple

from sqlalchemy import BigInteger, Integer, bindparam, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert as insert_or_update  # SQLite's dialect renders it as well.
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, reference, serial, table_of
from server.store.datasets import DATASETS
from server.store.engine import Command, Query, Tx

_UNFINISHED = text("(settled = 0 OR acknowledged_rows = 0)")


class UploadRow(SQLModel, table=True):
    """An upload. If it has rows it is kept for ever, as they must not be stored twice."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index("uploads_by_id", "organization_id", "upload_id", unique=True),
        Index("uploads_to_settle", "active_time", sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED),
    )

    id: int = serial()
    organization_id: int = reference("organizations.id")
    upload_id: str  # the client's
    dataset_id: int = reference("datasets.id")
    stream: int  # Grows with each stream of the upload: what an earlier one does is void.
    acknowledged_rows: int = Field(sa_type=BigInteger)
    settled: int  # 0 from the first rows of a stream until the dataset's next version, which ends it
    create_time: int = micros()
    active_time: int = micros()  # When its last stream began, or last stored rows.


UPLOADS = table_of(UploadRow)
_U, _D = UPLOADS.c, DATASETS.c


class Begun(NamedTuple):
    """An upload as a stream takes it up."""

    id: int
    dataset_id: int
    stream: int
    acknowledged_rows: int


class Idle(NamedTuple):
    """An upload that is left as it should not stay."""

    id: int
    dataset_id: int


class Stored(NamedTuple):
    """An upload as it is told."""

    upload_id: str
    dataset: str
    acknowledged_rows: int
    create_time: int


_BEGIN = Query(
    insert_or_update(UPLOADS)
    .values(
        organization_id=bindparam("organization_id"),
        upload_id=bindparam("upload_id"),
        dataset_id=bindparam("dataset_id"),
        stream=1,
        acknowledged_rows=0,
        settled=1,
        create_time=bindparam("create_time"),
        active_time=bindparam("create_time"),
    )
    .on_conflict_do_update(
        index_elements=[_U.organization_id, _U.upload_id],
        set_={"stream": _U.stream + 1, "active_time": bindparam("create_time")},
    )
    .returning(_U.id, _U.dataset_id, _U.stream, _U.acknowledged_rows),
    Begun,
)
_OF_STREAM = (_U.id == bindparam("of_upload"), _U.stream == bindparam("of_stream"))
_ADVANCE = Command(
    update(UPLOADS)
    .where(*_OF_STREAM, _U.acknowledged_rows == bindparam("first", type_=BigInteger))
    .values(
        acknowledged_rows=_U.acknowledged_rows + bindparam("rows", type_=Integer), active_time=bindparam("active_time")
    )
)
_UNSETTLE = Command(update(UPLOADS).where(*_OF_STREAM, _U.settled == 1).values(settled=0))
_SETTLE = Command(update(UPLOADS).where(*_OF_STREAM, _U.settled == 0).values(settled=1))
_IDLE = Query(select(_U.id, _U.dataset_id).where(_UNFINISHED, _U.active_time < bindparam("before")).limit(1), Idle)
_IF_IDLE = (_U.id == bindparam("of_upload"), _U.active_time < bindparam("before"))
_SETTLE_IDLE = Command(update(UPLOADS).where(*_IF_IDLE, _U.settled == 0).values(settled=1))
_FORGET_IDLE = Command(delete(UPLOADS).where(*_IF_IDLE, _U.acknowledged_rows == 0))
_BY_ID = Query(
    select(_U.upload_id, _D.name, _U.acknowledged_rows, _U.create_time)
    .select_from(UPLOADS.join(DATASETS, _D.id == _U.dataset_id))
    .where(_U.organization_id == bindparam("organization_id"), _U.upload_id == bindparam("upload_id")),
    Stored,
)


async def begin(tx: Tx, *, organization_id: int, upload_id: str, dataset_id: int) -> Begun:
    """Return the upload, new or not, as its next stream has it; streams before that have it no more."""
    begun = await tx.one(
        _BEGIN, organization_id=organization_id, upload_id=upload_id, dataset_id=dataset_id, create_time=tx.now
    )
    assert begun is not None  # noqa: S101 - an INSERT … RETURNING that did not raise has returned its row.
    return begun


async def advance(tx: Tx, *, upload: int, stream: int, first: int, rows: int) -> bool:
    """Acknowledge rows from the number `first` on; False if the stream has the upload no more."""
    of = {"of_upload": upload, "of_stream": stream}
    return await tx.run(_ADVANCE, **of, first=first, rows=rows, active_time=tx.now) == 1


async def unsettle(tx: Tx, *, upload: int, stream: int) -> bool:
    """Note that rows come; False if that is noted."""
    return await tx.run(_UNSETTLE, of_upload=upload, of_stream=stream) == 1


async def settle(tx: Tx, *, upload: int, stream: int) -> bool:
    """Note that no more rows come; False if that is noted, or if the stream has the upload no more."""
    return await tx.run(_SETTLE, of_upload=upload, of_stream=stream) == 1


async def idle(tx: Tx, *, before: int) -> Idle | None:
    """Return an upload that is unsettled or without rows, and on which nothing was done since."""
    return await tx.one(_IDLE, before=before)


async def settle_idle(tx: Tx, *, upload: int, before: int) -> bool:
    """As settle, whatever stream has the upload; False as well if anything was done on it since."""
    return await tx.run(_SETTLE_IDLE, of_upload=upload, before=before) == 1


async def forget_idle(tx: Tx, *, upload: int, before: int) -> bool:
    """Delete an upload; False if it has rows, or if anything was done on it since."""
    return await tx.run(_FORGET_IDLE, of_upload=upload, before=before) == 1


async def by_id(tx: Tx, *, organization_id: int, upload_id: str) -> Stored | None:
    """Return the organization's upload of this id."""
    return await tx.one(_BY_ID, organization_id=organization_id, upload_id=upload_id)
