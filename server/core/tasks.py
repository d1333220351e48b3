"""Tasks: asked work."""

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, NoReturn

import orjson
import uuid_utils

from server.core import catalogue, counts, events
from server.core.caller import Caller
from server.core.catalogue import HOUSE, HOUSE_SERVICE, Action
from server.core.errors import (
    Fault,
    FaultKind,
    InvalidFields,
    RequestIdReused,
    TaskLimitReached,
    TaskNotFound,
    TasksNotFound,
    invalid,
)
from server.core.pages import MAX_PAGE_BYTES, Page, read_page, unknown_token
from server.store import deliveries
from server.store import tasks as store
from server.store import work as leases
from server.store.engine import Tx
from server.store.tasks import Progress as Progress

HOUSE_ACTIONS = frozenset(action.slug for action in HOUSE.actions)
MAX_PARAMETERS = 100
MAX_PARAMETER_BYTES = 64 * 1024
MAX_CREATES = 1000  # in one call
MAX_GETS = 10_000  # in one call
CANCELLED = "The task was cancelled."
DEREGISTERED = "The account was deregistered."
_ID = re.compile(r"[0-9a-f-]{36}")
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
        TaskState.PENDING: frozenset({TaskState.RUNNING, TaskState.FAILED, TaskState.CANCELLED}),
        TaskState.RUNNING: frozenset({TaskState.PENDING, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED}),
        TaskState.SUCCEEDED: frozenset(),
        TaskState.FAILED: frozenset(),
        TaskState.CANCELLED: frozenset(),
    }
)
"""From each state, the states that may follow. Every statement that moves a task names the state it moves from."""


class Retrieval(StrEnum):
    """How a task's results leave the house."""

    PAGES = "pages"
    ASSTORE = "asstore"  # Stored until they are fetched once.
    ASCHANNEL = "aschannel"  # Sent on the live stream of the credential that asked.


_RETRIEVALS = frozenset(Retrieval)


class Wanted(NamedTuple):
    """What is asked for."""

    service: str
    action: str
    parameters: Mapping[str, str]
    request_id: str  # "": none
    retrieval: str = Retrieval.PAGES
    account: str | None = None  # the username on whose behalf

    def digest(self) -> bytes:
        """Tell equal content from other content."""
        content: tuple[object, ...] = self[:3]
        if self.retrieval != Retrieval.PAGES or self.account is not None:
            content += self.retrieval, self.account
        return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()


class Task(NamedTuple):
    """A task. Times are microseconds since 1970 in UTC."""

    id: str
    service: str
    action: str
    parameters: dict[str, str]
    state: TaskState
    attempt: int
    error: str | None  # Set if and only if it is FAILED or CANCELLED.
    failures: int
    last_error: str | None  # of its last failed attempt, unless it has succeeded since
    result_count: int
    retrieval: Retrieval
    account: str | None
    ready_time: int | None  # Set while it is PENDING.
    create_time: int
    start_time: int | None
    end_time: int | None


async def create(tx: Tx, *, caller: Caller, wanted: Wanted, full: bool = False) -> Task:
    """Store a task. With a request id that was used before, for the same content, return the task stored then.

    `full`: the organization has as many unfinished tasks as it may have (core/admission.py). Raises InvalidFields,
    RequestIdReused, TaskLimitReached.
    """
    [task] = await _create(tx, caller, [("", wanted)], full=full)
    return task


async def create_many(tx: Tx, *, caller: Caller, wanted: Sequence[Wanted], full: bool = False) -> list[Task]:
    """As create for each, in their order; all of them or none."""
    if not 1 <= len(wanted) <= MAX_CREATES:
        raise invalid("requests", f"must be 1 to {MAX_CREATES}")
    return await _create(tx, caller, [(f"requests[{number}].", one) for number, one in enumerate(wanted)], full=full)


async def _create(tx: Tx, caller: Caller, wanted: Sequence[tuple[str, Wanted]], *, full: bool) -> list[Task]:
    """Create what is wanted, each with the path of its fields in the request."""
    if faults := [fault for path, one in wanted for fault in _faults(path, one)]:
        raise InvalidFields(tuple(faults))
    requests = [request for _, one in wanted if (request := _uuid(one.request_id))]
    asked = {}
    if requests:
        known = await store.by_requests(tx, organization_id=caller.tenant, request_ids=requests)
        asked = {one.request_id: (one.task_id, one.digest) for one in known}
    ids: list[str] = []
    new: list[store.New] = []
    faults = []
    actions: dict[tuple[str, str], Action | None] = {}
    for path, one in wanted:
        request, digest = _uuid(one.request_id), one.digest()
        if request and request in asked:
            task_id, digest_then = asked[request]
            if digest_then != digest:
                raise RequestIdReused(one.request_id)
            ids.append(task_id)
            continue
        ids.append(str(uuid_utils.uuid7()))
        if request:
            asked[request] = ids[-1], digest
        wrong = await _wrong(tx, caller, one, actions)
        faults += [replace(fault, field=path + fault.field) for fault in wrong]
        action = actions.get((one.service, one.action))
        parameters = catalogue.handed_on(action, one.parameters) if action else one.parameters
        new.append(
            store.New(
                task_id=ids[-1],
                service=one.service,
                action=one.action,
                parameters=orjson.dumps(parameters).decode(),
                request_id=request,
                request_digest=digest if request else None,
                retrieval=one.retrieval,
                credential_id=caller.credential_id,
                account=one.account,
            )
        )
    if faults:
        raise InvalidFields(tuple(faults))
    if new and full:
        raise TaskLimitReached
    await store.insert_tasks(tx, organization_id=caller.tenant, tasks=new)
    expected = [(one.task_id, one.credential_id, one.retrieval) for one in new if one.retrieval != Retrieval.PAGES]
    if expected:
        await deliveries.expect(tx, expected)
    return await _with_earlier(tx, caller, ids, {one.task_id: _created(one, tx.now) for one in new})


async def get(tx: Tx, *, caller: Caller, task_id: str) -> Task:
    """Return the caller's task. Raises TaskNotFound."""
    found = await store.by_id(tx, organization_id=caller.tenant, task_id=task_id)
    return _task(found) if found else _unknown(task_id)


async def get_many(tx: Tx, *, caller: Caller, task_ids: Sequence[str]) -> list[Task]:
    """Return the caller's tasks in the order of their ids. Raises InvalidFields, TasksNotFound."""
    if not 1 <= len(task_ids) <= MAX_GETS:
        raise invalid("task_ids", f"must be 1 to {MAX_GETS}")
    possible = [task_id for task_id in task_ids if is_id(task_id)]
    if await store.parameter_bytes(tx, organization_id=caller.tenant, task_ids=possible) > MAX_PAGE_BYTES:
        raise invalid("task_ids", f"their parameters have more than {MAX_PAGE_BYTES} bytes together; ask for fewer")
    by_id = await _by_ids(tx, caller, possible)
    if unknown := dict.fromkeys(task_id for task_id in task_ids if task_id not in by_id):
        raise TasksNotFound(", ".join(unknown))
    return [by_id[task_id] for task_id in task_ids]


async def _with_earlier(tx: Tx, caller: Caller, task_ids: Sequence[str], new: Mapping[str, Task]) -> list[Task]:
    """Return new tasks without reading them, which would collide with others that add theirs; and read earlier ones."""
    earlier = [task_id for task_id in task_ids if task_id not in new]
    found = {**new, **(await _by_ids(tx, caller, earlier) if earlier else {})}
    return [found[task_id] for task_id in task_ids]


async def _by_ids(tx: Tx, caller: Caller, task_ids: Sequence[str]) -> dict[str, Task]:
    found = await store.by_ids(tx, organization_id=caller.tenant, task_ids=task_ids)
    return {one.id: _task(one) for one in found}


async def count_unfinished(tx: Tx, *, organization_id: int, most: int) -> int:
    """Return how many of the organization's tasks are not over; `most` if there are more."""
    return await store.count_unfinished(tx, organization_id=organization_id, most=most)


async def progress(tx: Tx, *, task_ids: Sequence[str]) -> list[Progress]:
    """Return how far these tasks have come, whosever they are: for telling that they changed, and nothing else."""
    return await store.progress(tx, [task_id for task_id in task_ids if is_id(task_id)])


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
    if await store.cancel(tx, task=found, why=CANCELLED):
        if found.session_id:
            await leases.revoke(tx, session_id=found.session_id, task_id=task_id, attempt=found.attempt)
        if found.retrieval != Retrieval.PAGES:
            await deliveries.fail(tx, [task_id])
    cancelled = await get(tx, caller=caller, task_id=task_id)
    about = events.Object("task", task_id)
    await events.record(tx, organization_id=caller.tenant, actor=caller, action="task.cancelled", object=about)
    return cancelled


async def fail_of_account(tx: Tx, *, caller: Caller, service: str, account: str) -> None:
    """End the tasks of an account that no worker has."""
    ended = await store.fail_pending(
        tx, organization_id=caller.tenant, service=service, account=account, why=DEREGISTERED
    )
    if ended:
        await deliveries.fail(tx, ended)


def is_id(text: str) -> bool:
    """Say whether this could be an id of ours: what else callers send is not looked for."""
    return _ID.fullmatch(text) is not None


def is_slug(text: str) -> bool:
    """Say whether a service or an action may have this name."""
    return _SLUG.fullmatch(text) is not None


def _faults(path: str, wanted: Wanted) -> list[Fault]:
    service, action, parameters, request_id = wanted[:4]
    faults = [
        Fault(f"{path}task.{field}", "must be 1 to 63 of a-z, 0-9, '-' and '_'")
        for field, slug in (("service", service), ("action", action))
        if not is_slug(slug)
    ]
    if service == HOUSE_SERVICE and not faults and action not in HOUSE_ACTIONS:
        faults.append(Fault(f"{path}task.action", f"{HOUSE_SERVICE} has no such action", FaultKind.UNKNOWN_ACTION))
    if len(parameters) > MAX_PARAMETERS:
        faults.append(Fault(f"{path}task.parameters", f"must be at most {MAX_PARAMETERS}"))
    if sum(len(name.encode()) + len(value.encode()) for name, value in parameters.items()) > MAX_PARAMETER_BYTES:
        faults.append(Fault(f"{path}task.parameters", f"must be at most {MAX_PARAMETER_BYTES} bytes together"))
    if "" in parameters:
        faults.append(Fault(f"{path}task.parameters", "must all have names"))
    if wanted.retrieval not in _RETRIEVALS:
        faults.append(Fault(f"{path}task.retrieval", f"must be {', '.join(Retrieval)}"))
    if request_id and _uuid(request_id) is None:
        faults.append(Fault(f"{path}request_id", "must be a UUID"))
    return faults


async def _wrong(
    tx: Tx, caller: Caller, wanted: Wanted, actions: dict[tuple[str, str], Action | None]
) -> Sequence[Fault]:
    """Return what is wrong by the catalogue, or with a question to the house's own action. `actions` are known ones."""
    service, name, parameters = wanted[:3]
    if service == HOUSE_SERVICE:
        return await counts.check_question(tx, organization_id=caller.tenant, parameters=parameters)
    if (service, name) not in actions:
        actions[service, name] = await catalogue.find_action(tx, service=service, action=name)
    action = actions[service, name]
    if action:
        faults = catalogue.faults_of_parameters(action, parameters)
        return [replace(fault, field=f"task.parameters.{fault.field}") for fault in faults]
    if await catalogue.find_service(tx, service) != service:
        return [Fault("task.service", "is no service of the catalogue", FaultKind.UNKNOWN_SERVICE)]
    return [Fault("task.action", "is no action of this service", FaultKind.UNKNOWN_ACTION)]


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
        failures=found.failures,
        last_error=found.error if state is not TaskState.CANCELLED else None,
        result_count=found.result_count,
        retrieval=Retrieval(found.retrieval),
        account=found.account,
        ready_time=found.ready_time if state is TaskState.PENDING else None,
        create_time=found.create_time,
        start_time=found.start_time,
        end_time=found.end_time,
    )


def _created(new: store.New, now: int) -> Task:
    """Return a task as it was stored."""
    return Task(
        id=new.task_id,
        service=new.service,
        action=new.action,
        parameters=orjson.loads(new.parameters),
        state=TaskState.PENDING,
        attempt=0,
        error=None,
        failures=0,
        last_error=None,
        result_count=0,
        retrieval=Retrieval(new.retrieval),
        account=new.account,
        ready_time=now,
        create_time=now,
        start_time=None,
        end_time=None,
    )


def _unknown(task_id: str) -> NoReturn:
    raise TaskNotFound(task_id)
