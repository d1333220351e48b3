"""Submissions: tasks that are asked for with a form, on behalf of an account, within what a token may ask for.

The form's fields are the service, the action and the account, and beside them the action's parameters, each as often as
it was given. Faults name the form's fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from server.core import accounts, catalogue, counts, tasks
from server.core.allowances import Allowances, Limits, faults_of_values, narrowed
from server.core.caller import Caller
from server.core.catalogue import HOUSE, HOUSE_SERVICE, RESERVED, Action, Service
from server.core.errors import Fault, FaultKind, InvalidFields
from server.core.tasks import MAX_PARAMETER_BYTES, Retrieval, Task, Wanted
from server.store.engine import Tx

Form = Mapping[str, Sequence[str]]


class _Asked(NamedTuple):
    """An action that may be asked for."""

    service: str
    action: Action
    limits: Limits


async def permitted(tx: Tx, *, caller: Caller) -> list[Service]:
    """Return the services and actions that the caller may ask for, and of permissions the values."""
    return Allowances(caller.allowed).of([*await catalogue.get(tx), HOUSE])


async def submit(tx: Tx, *, caller: Caller, retrieval: Retrieval, form: Form, full: bool) -> Task:
    """Store a task. `full` is as in tasks.create.

    Raises InvalidFields, with all faults of the form, and TaskLimitReached.
    """
    faults: list[Fault] = []
    service = await _service(tx, caller, only(form, "service", faults), faults)
    asked = await _asked(tx, caller, service, only(form, "action", faults), faults)
    account = only(form, "account", faults)
    if account and service and not await _is_registered(tx, caller, service, account):
        faults.append(Fault("account", "is no registered account", FaultKind.UNKNOWN_ACCOUNT))
    given = {name: values for name, values in form.items() if name not in RESERVED}
    parameters = _parameters(asked.action, given, faults) if asked else {}
    if asked:
        faults += await _parameter_faults(tx, caller, asked, parameters)
    if faults or not asked:
        raise InvalidFields(tuple(faults))
    wanted = Wanted(asked.service, asked.action.slug, parameters, "", retrieval, account)
    return await tasks.create(tx, caller=caller, wanted=wanted, full=full)


def only(form: Form, name: str, faults: list[Fault]) -> str:
    """Return the field's text; "" if it has none or several, which is noted as its fault."""
    values = {value for value in form.get(name, ()) if value}
    if len(values) == 1:
        return values.pop()
    kind = FaultKind.INVALID if values else FaultKind.MISSING
    faults.append(Fault(name, "is given several times" if values else "is required", kind))
    return ""


async def _service(tx: Tx, caller: Caller, name: str, faults: list[Fault]) -> str | None:
    slug = await catalogue.find_service(tx, name) if name else None
    if slug and Allowances(caller.allowed).has_service(slug):
        return slug
    if name:
        faults.append(Fault("service", "is no service of the catalogue", FaultKind.UNKNOWN_SERVICE))
    return None


async def _asked(tx: Tx, caller: Caller, service: str | None, name: str, faults: list[Fault]) -> _Asked | None:
    if not service or not name:
        return None
    action = await catalogue.find_action(tx, service=service, action=name)
    limits = Allowances(caller.allowed).limits(service, name)
    if action is None or limits is None:
        faults.append(Fault("action", "is no action of this service", FaultKind.UNKNOWN_ACTION))
        return None
    return _Asked(service, narrowed(action, limits), limits)


async def _is_registered(tx: Tx, caller: Caller, service: str, username: str) -> bool:
    return await accounts.find(tx, caller=caller, service=service, username=username) is not None


def _parameters(action: Action, given: Form, faults: list[Fault]) -> dict[str, str]:
    """Return the parameters that have texts, lists with commas between what was given."""
    lists = catalogue.lists_of(action)
    parameters = {}
    for name, values in given.items():
        if name not in lists and len(set(values)) > 1:
            faults.append(Fault(name, "is given several times"))
        if text := ",".join(values if name in lists else values[:1]):
            parameters[name] = text
    return parameters


async def _parameter_faults(tx: Tx, caller: Caller, asked: _Asked, parameters: Mapping[str, str]) -> list[Fault]:
    size = sum(len(name.encode()) + len(value.encode()) for name, value in parameters.items())
    if size > MAX_PARAMETER_BYTES:
        longest = max(parameters, key=lambda name: len(name) + len(parameters[name]))
        return [Fault(longest, f"is too long: all parameters may have {MAX_PARAMETER_BYTES} bytes together")]
    faults = [
        *catalogue.faults_of_parameters(asked.action, parameters),
        *faults_of_values(asked.limits, parameters, lists=catalogue.lists_of(asked.action)),
    ]
    if asked.service == HOUSE_SERVICE and not faults:
        wrong = await counts.check_question(tx, organization_id=caller.tenant, parameters=parameters)
        faults = [replace(fault, field=fault.field.removeprefix("task.parameters.")) for fault in wrong]
    return list(dict.fromkeys(faults))
