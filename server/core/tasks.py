"""Tasks: asked work."""

import hashlib
import re
import uuid
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, NoReturn

import orjson
import uuid_utils

from server.core import counts
from server.core.caller import Caller
from server.core.errors import Fault, InvalidFields, RequestIdReused, TaskNotFound
from server.core.pages import Page, read_page, unknown_token
from server.store import tasks as store
from server.store import work as leases
from server.store.engine import Tx

HOUSE_SERVICE = "cloak"  # The house's own; everything else belongs to whoever writes workers.
HOUSE_ACTIONS = frozenset({"histogram"})
MAX_PARAMETERS = 100
MAX_PARAMETER_BYTES = 64 * 1024
CANCELLED = "The task was cancelled."
_SLUG = re.compile(r"[a-z0-9_-]{1,63}")


class TaskState(StrEnum):
    """What became of the work."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_over(self) -> bool:
        """Nothing can change it any more."""
        return not LAW[self]


LAW: Mapping[TaskState, frozenset[TaskState]] = MappingProxyType(
    {
        TaskState.PENDING: frozenset({TaskState.RUNNING, TaskState.CANCELLED}),
        TaskState.RUNNING: frozenset({TaskState.PENDING, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED}),
        TaskState.SUCCEEDED: frozenset(),
        TaskState.FAILED: frozenset(),
        TaskState.CANCELLED: frozenset(),
    }
)
"""From each state, the states that may follow. Every statement that moves a task names the state it moves from."""


class Task(NamedTuple):
    """A task. Times are microseconds since 1970 in UTC."""

    id: str
    service: str
    action: str
    parameters: dict[str, str]
    state: TaskState
    attempt: int
    error: str | None  # Set if and only if it is FAILED or CANCELLED.
    result_count: int
    create_time: int
    start_time: int | None
    end_time: int | None


async def create(
    tx: Tx, *, caller: Caller, service: str, action: str, parameters: Mapping[str, str], request_id: str
) -> Task:
    """Store a task. With a request id that was used before, for the same content, return the task stored then.

    Raises InvalidFields, RequestIdReused.
    """
    organization_id = caller.tenant
    faults = _faults(service, action, parameters)
    request = _uuid(request_id)
    if request_id and request is None:
        faults.append(Fault("request_id", "must be a UUID"))
    if faults:
        raise InvalidFields(tuple(faults))
    digest = _digest(service, action, parameters)
    if request and (asked := await store.by_request(tx, organization_id=organization_id, request_id=request)):
        if asked.digest != digest:
            raise RequestIdReused(request_id)
        return await get(tx, caller=caller, task_id=asked.task_id)
    if service == HOUSE_SERVICE:
        wrong = await counts.check_question(tx, organization_id=organization_id, parameters=parameters)
        if wrong:
            raise InvalidFields(wrong)
    task_id = str(uuid_utils.uuid7())
    await store.insert_task(
        tx,
        task_id=task_id,
        organization_id=organization_id,
        service=service,
        action=action,
        parameters=orjson.dumps(parameters).decode(),
        request_id=request,
        request_digest=digest if request else None,
    )
    return await get(tx, caller=caller, task_id=task_id)


async def get(tx: Tx, *, caller: Caller, task_id: str) -> Task:
    """Return the caller's task. Raises TaskNotFound."""
    found = await store.by_id(tx, organization_id=caller.tenant, task_id=task_id)
    return _task(found) if found else _unknown(task_id)


async def page(tx: Tx, *, caller: Caller, page_size: int, page_token: str) -> Page[Task]:
    """Return the caller's tasks, newest first. Raises InvalidFields."""
    asked = read_page(page_size, page_token)
    if asked.after and _uuid(asked.after) != asked.after:
        raise unknown_token()
    owner = caller.tenant
    sizes = await store.sizes(tx, organization_id=owner, before=asked.after, most=asked.size)
    asked = asked.within(sizes)
    found = await store.page(tx, organization_id=owner, before=asked.after, most=asked.most)
    return asked.of([_task(one) for one in found], lambda task: task.id)


async def cancel(tx: Tx, *, caller: Caller, task_id: str) -> Task:
    """End a task that is not over and leave word for its worker; one that is over is returned as it is.

    Raises TaskNotFound.
    """
    found = await store.by_id(tx, organization_id=caller.tenant, task_id=task_id)
    if found is None:
        _unknown(task_id)
    if TaskState(found.state).is_over:
        return _task(found)
    if await store.cancel(tx, task=found, why=CANCELLED) and found.session_id:
        await leases.revoke(tx, session_id=found.session_id, task_id=task_id, attempt=found.attempt)
    return await get(tx, caller=caller, task_id=task_id)


def is_slug(text: str) -> bool:
    """Say whether a service or an action may have this name."""
    return _SLUG.fullmatch(text) is not None


def _faults(service: str, action: str, parameters: Mapping[str, str]) -> list[Fault]:
    faults = [
        Fault(f"task.{field}", "must be 1 to 63 of a-z, 0-9, '-' and '_'")
        for field, slug in (("service", service), ("action", action))
        if not is_slug(slug)
    ]
    if service == HOUSE_SERVICE and not faults and action not in HOUSE_ACTIONS:
        faults.append(Fault("task.action", f"{HOUSE_SERVICE} has no such action"))
    if len(parameters) > MAX_PARAMETERS:
        faults.append(Fault("task.parameters", f"must be at most {MAX_PARAMETERS}"))
    if sum(len(name.encode()) + len(value.encode()) for name, value in parameters.items()) > MAX_PARAMETER_BYTES:
        faults.append(Fault("task.parameters", f"must be at most {MAX_PARAMETER_BYTES} bytes together"))
    if "" in parameters:
        faults.append(Fault("task.parameters", "must all have names"))
    return faults


def _digest(service: str, action: str, parameters: Mapping[str, str]) -> bytes:
    return hashlib.sha256(orjson.dumps([service, action, parameters], option=orjson.OPT_SORT_KEYS)).digest()


def _uuid(text: str) -> str | None:
    """Return the UUID in its usual form, so that two spellings of one are the same."""
    try:
        return str(uuid.UUID(text)) if text else None
    except ValueError:
        return None


def _task(found: store.Stored) -> Task:
    state = TaskState(found.state)
    ended_badly = state in (TaskState.FAILED, TaskState.CANCELLED)
    return Task(
        id=found.id,
        service=found.service,
        action=found.action,
        parameters=orjson.loads(found.parameters),
        state=state,
        attempt=found.attempt,
        error=found.error if ended_badly else None,
        result_count=found.result_count,
        create_time=found.create_time,
        start_time=found.start_time,
        end_time=found.end_time,
    )


def _unknown(task_id: str) -> NoReturn:
    raise TaskNotFound(task_id)
