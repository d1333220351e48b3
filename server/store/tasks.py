"""Tasks. What workers do to them is in `work.py`."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import Integer, bindparam, func, insert, literal_column, null, select, text, update
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, reference, table_of
from server.store.engine import Command, Query, Size, Tx
from server.store.lists import texts


class TaskRow(SQLModel, table=True):
    """Asked work."""

    __tablename__ = "tasks"
    __table_args__ = (
        # Live tasks only, so that leasing costs the same however many are over.
        Index(
            "tasks_to_lease",
            "service",
            "action",
            "ready_time",
            "id",
            sqlite_where=text("state = 'PENDING'"),
            postgresql_where=text("state = 'PENDING'"),
        ),
        Index(
            "tasks_of_session",
            "session_id",
            sqlite_where=text("session_id IS NOT NULL"),
            postgresql_where=text("session_id IS NOT NULL"),
        ),
        Index("tasks_of_organization", "organization_id", "id"),
        Index(
            "tasks_by_request",
            "organization_id",
            "request_id",
            unique=True,
            sqlite_where=text("request_id IS NOT NULL"),
            postgresql_where=text("request_id IS NOT NULL"),
        ),
        # How many there are, and those of an account.
        Index(
            "tasks_unfinished",
            "organization_id",
            "service",
            "account",
            sqlite_where=text("end_time IS NULL"),
            postgresql_where=text("end_time IS NULL"),
        ),
        Index(
            "tasks_to_sweep",
            "end_time",
            "id",
            sqlite_where=text("end_time IS NOT NULL"),
            postgresql_where=text("end_time IS NOT NULL"),
        ),
        Index(
            "results_to_sweep",
            "end_time",
            "id",
            sqlite_where=text("end_time IS NOT NULL AND result_count > removed_count"),
            postgresql_where=text("end_time IS NOT NULL AND result_count > removed_count"),
        ),
    )

    id: str = Field(primary_key=True)
    organization_id: int = reference("organizations.id")
    service: str
    action: str
    parameters: str  # JSON: {name: text}
    state: str  # see core/tasks.py
    attempt: int  # how many leases were granted: the fence
    failures: int  # how many attempts count against the limit
    error: str | None  # of the last failed attempt, or why it was cancelled
    result_count: int  # how many results it has published
    removed_count: int = Field(sa_column_kwargs={"server_default": text("0")})  # of these, those that are no more kept
    session_id: str | None  # the worker's session, while RUNNING
    request_id: str | None
    request_digest: bytes | None  # of what was asked under request_id
    retrieval: str = Field(sa_column_kwargs={"server_default": "pages"})  # see core/tasks.py
    credential_id: str | None  # who asked for it
    account: str | None  # the username on whose behalf
    ready_time: int = micros()  # not leased before
    create_time: int = micros()
    start_time: int | None = micros(nullable=True)
    end_time: int | None = micros(nullable=True)


TASKS = table_of(TaskRow)
_T = TASKS.c


class Stored(NamedTuple):
    """A task, as it is kept."""

    id: str
    service: str
    action: str
    parameters: str
    state: str
    attempt: int
    failures: int
    error: str | None
    result_count: int
    session_id: str | None
    retrieval: str
    credential_id: str | None
    account: str | None
    ready_time: int
    create_time: int
    start_time: int | None
    end_time: int | None


class Asked(NamedTuple):
    """What was asked under a request id."""

    request_id: str
    task_id: str
    digest: bytes


class New(NamedTuple):
    """A task to store."""

    task_id: str
    service: str
    action: str
    parameters: str
    request_id: str | None
    request_digest: bytes | None
    retrieval: str
    credential_id: str
    account: str | None


class Progress(NamedTuple):
    """How far a task has come. It grows with every change that its organization can see."""

    id: str
    state: str
    attempt: int
    failures: int
    result_count: int


class Tally(NamedTuple):
    """How many results a task has published, and how many of them are kept no more. Both only grow."""

    published: int
    removed: int

    @property
    def kept(self) -> int:
        """How many there are."""
        return self.published - self.removed


class _Bytes(NamedTuple):
    value: int | None


class _Count(NamedTuple):
    value: int


class _Id(NamedTuple):
    value: str


_STORED = select(*(_T[name] for name in Stored._fields))
_OWN = _T.organization_id == bindparam("organization_id")
_GIVEN = texts("task_ids")
_IN_GIVEN = _T.id.in_(select(_GIVEN.c.value))
_REQUESTS = texts("request_ids")
_BY_ID = Query(_STORED.where(_T.id == bindparam("task_id"), _OWN), Stored)
_BY_IDS = Query(_STORED.where(_IN_GIVEN, _OWN), Stored)
_BYTES_BY_IDS = Query(select(func.sum(func.octet_length(_T.parameters))).where(_IN_GIVEN, _OWN), _Bytes)
_PROGRESS = Query(select(*(_T[name] for name in Progress._fields)).where(_IN_GIVEN), Progress)
_NEWEST = Query(_STORED.where(_OWN).order_by(_T.id.desc()).limit(bindparam("most")), Stored)
_BEFORE = Query(
    _STORED.where(_OWN, _T.id < bindparam("before")).order_by(_T.id.desc()).limit(bindparam("most")), Stored
)
_SIZE = select(func.octet_length(_T.parameters)).where(_OWN).order_by(_T.id.desc()).limit(bindparam("most"))
_SIZES = Query(_SIZE, Size)
_SIZES_BEFORE = Query(_SIZE.where(_T.id < bindparam("before")), Size)
_BY_REQUESTS = Query(
    select(_T.request_id, _T.id, _T.request_digest).where(_OWN, _T.request_id.in_(select(_REQUESTS.c.value))), Asked
)
_TALLY = Query(select(_T.result_count, _T.removed_count).where(_T.id == bindparam("task_id"), _OWN), Tally)
_INSERT = Command(
    insert(TASKS).values(
        id=bindparam("task_id"),
        organization_id=bindparam("organization_id"),
        service=bindparam("service"),
        action=bindparam("action"),
        parameters=bindparam("parameters"),
        state=text("'PENDING'"),
        attempt=text("0"),
        failures=text("0"),
        error=null(),
        result_count=text("0"),
        session_id=null(),
        request_id=bindparam("request_id"),
        request_digest=bindparam("request_digest"),
        retrieval=bindparam("retrieval"),
        credential_id=bindparam("credential_id"),
        account=bindparam("account"),
        ready_time=bindparam("ready_time"),
        create_time=bindparam("create_time"),
        start_time=null(),
        end_time=null(),
    )
)
_INSERTED = (
    *("task_id", "organization_id", "service", "action", "parameters", "request_id", "request_digest"),
    *("retrieval", "credential_id", "account", "ready_time", "create_time"),
)
_UNFINISHED = (
    select(literal_column("1"))
    .where(_OWN, text("end_time IS NULL"))
    .limit(bindparam("most", type_=Integer))
    .subquery("counted")
)
_COUNT_UNFINISHED = Query(select(func.count()).select_from(_UNFINISHED), _Count)
_FAIL_PENDING = Query(
    update(TASKS)
    .where(
        _T.organization_id == bindparam("of_organization"),
        _T.service == bindparam("of_service"),
        _T.account == bindparam("of_account"),
        _T.state == "PENDING",
        text("end_time IS NULL"),
    )
    .values(state="FAILED", error=bindparam("why"), end_time=bindparam("now"))
    .returning(_T.id),
    _Id,
)
_CANCEL = Command(
    update(TASKS)
    .where(_T.id == bindparam("task_id"), _T.state == bindparam("from_state"), _T.attempt == bindparam("from_attempt"))
    .values(state="CANCELLED", session_id=null(), error=bindparam("why"), end_time=bindparam("now"))
)


async def by_id(tx: Tx, *, organization_id: int, task_id: str) -> Stored | None:
    """Return the organization's task with this id."""
    return await tx.one(_BY_ID, organization_id=organization_id, task_id=task_id)


async def by_ids(tx: Tx, *, organization_id: int, task_ids: Sequence[str]) -> list[Stored]:
    """Return those of the organization's tasks that have these ids, in no order."""
    return await tx.all(_BY_IDS, organization_id=organization_id, task_ids=_list(task_ids))


async def parameter_bytes(tx: Tx, *, organization_id: int, task_ids: Sequence[str]) -> int:
    """Return how many bytes of parameters those tasks have together."""
    found = await tx.one(_BYTES_BY_IDS, organization_id=organization_id, task_ids=_list(task_ids))
    return (found and found.value) or 0


async def progress(tx: Tx, task_ids: Sequence[str]) -> list[Progress]:
    """Return how far these tasks have come, whosever they are."""
    return await tx.all(_PROGRESS, task_ids=_list(task_ids))


async def page(tx: Tx, *, organization_id: int, before: str, most: int) -> list[Stored]:
    """Return the organization's newest tasks; of those older than the id `before`, unless that is empty."""
    if not before:
        return await tx.all(_NEWEST, organization_id=organization_id, most=most)
    return await tx.all(_BEFORE, organization_id=organization_id, before=before, most=most)


async def sizes(tx: Tx, *, organization_id: int, before: str, most: int) -> list[int]:
    """Return how many bytes of parameters each task of a page has."""
    if before:
        found = await tx.all(_SIZES_BEFORE, organization_id=organization_id, before=before, most=most)
    else:
        found = await tx.all(_SIZES, organization_id=organization_id, most=most)
    return [one.bytes for one in found]


async def by_requests(tx: Tx, *, organization_id: int, request_ids: Sequence[str]) -> list[Asked]:
    """Return what was asked under these request ids."""
    return await tx.all(_BY_REQUESTS, organization_id=organization_id, request_ids=_list(request_ids))


async def tally(tx: Tx, *, organization_id: int, task_id: str) -> Tally | None:
    """Return how many results the organization's task has; None if there is no such task."""
    return await tx.one(_TALLY, organization_id=organization_id, task_id=task_id)


async def insert_tasks(tx: Tx, *, organization_id: int, tasks: Sequence[New]) -> None:
    """Store new tasks, ready at once."""
    rows = [
        (
            *(new.task_id, organization_id, new.service, new.action, new.parameters),
            *(new.request_id, new.request_digest, new.retrieval, new.credential_id, new.account, tx.now, tx.now),
        )
        for new in tasks
    ]
    await tx.insert_many(_INSERT, _INSERTED, rows)


async def count_unfinished(tx: Tx, *, organization_id: int, most: int) -> int:
    """Return how many of the organization's tasks are not over; `most` if there are more."""
    found = await tx.one(_COUNT_UNFINISHED, organization_id=organization_id, most=most)
    return found.value if found else 0


async def fail_pending(tx: Tx, *, organization_id: int, service: str, account: str, why: str) -> list[str]:
    """End the account's tasks that no worker has, and return their ids."""
    ended = await tx.all(
        _FAIL_PENDING, of_organization=organization_id, of_service=service, of_account=account, why=why, now=tx.now
    )
    return [one.value for one in ended]


async def cancel(tx: Tx, *, task: Stored, why: str) -> bool:
    """End the task, if it is still as it was read."""
    return (
        await tx.run(_CANCEL, task_id=task.id, from_state=task.state, from_attempt=task.attempt, why=why, now=tx.now)
        == 1
    )


def _list(values: Sequence[str]) -> str:
    return orjson.dumps(values).decode()
