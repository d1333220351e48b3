"""The catalogue: which services there are, what can be asked of them, and with which parameters."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from server.core import events
from server.core.caller import Caller
from server.core.errors import Fault, FaultKind, InvalidFields
from server.store import catalogue as store
from server.store.engine import Tx

HOUSE_SERVICE = "cloak"
"""The house's own; everything else is declared by whoever writes workers."""
RESERVED = frozenset({"service", "action", "account"})
"""What a task's form has besides the parameters of its action."""
MAX_SERVICES = 100
MAX_ACTIONS = 100  # of a service
MAX_PARAMETERS = 100  # of an action
MAX_VALUES = 1000  # of a permission
MAX_NAME = 100
MAX_DESCRIPTION = 2000
MAX_VALUE = 200
MAX_BYTES = 1024 * 1024  # of a whole catalogue as JSON: readers get it in one message
_SLUG = re.compile(r"[a-z0-9_-]{1,63}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_INT64 = 2**63
_BOOLEANS = frozenset({"true", "false"})


class ParameterType(StrEnum):
    """What a parameter's text must say."""

    STRING = "string"  # any text
    DATE = "date"  # ISO 8601: a date, or a date and a time
    INTEGER = "integer"  # of 64 bits
    BOOLEAN = "boolean"  # true or false
    LIST = "list"  # texts with commas between


class Parameter(NamedTuple):
    """What an action is told besides its permissions."""

    slug: str
    name: str
    type: ParameterType
    optional: bool
    description: str


class Permission(NamedTuple):
    """A required parameter of type LIST that may hold some values only."""

    slug: str
    values: tuple[str, ...]


class Action(NamedTuple):
    """Something that can be asked."""

    slug: str
    name: str
    description: str
    parameters: tuple[Parameter, ...]
    permissions: tuple[Permission, ...]


class Service(NamedTuple):
    """A set of actions that one kind of worker does."""

    slug: str
    name: str
    actions: tuple[Action, ...]


HOUSE = Service(
    HOUSE_SERVICE,
    "Cloak",
    (
        Action(
            "histogram",
            "Histogram",
            "Anonymised counts of users: of a dataset's column, by bins or by values.",
            (
                Parameter("dataset", "Dataset", ParameterType.STRING, optional=False, description=""),
                Parameter("column", "Column", ParameterType.STRING, optional=False, description=""),
                Parameter(
                    "bin_width",
                    "Bin Width",
                    ParameterType.STRING,
                    optional=True,
                    description="Above 0; for columns of numbers.",
                ),
                Parameter(
                    "categories",
                    "Categories",
                    ParameterType.STRING,
                    optional=True,
                    description="* or a JSON list of values.",
                ),
                Parameter("where", "Where", ParameterType.STRING, optional=True, description="Which rows count."),
            ),
            (),
        ),
    ),
)
"""What can be asked of the house itself, whatever is declared."""


# Reading


async def get(tx: Tx) -> tuple[Service, ...]:
    """Return the services in the order in which they were declared."""
    actions: dict[str, list[Action]] = {}
    for one in await store.actions(tx):
        actions.setdefault(one.service, []).append(_action(one))
    return tuple(Service(one.slug, one.name, tuple(actions.get(one.slug, ()))) for one in await store.services(tx))


async def find_service(tx: Tx, name: str) -> str | None:
    """Return the slug of the service that has this slug or display name, in any case of letters; the house's, too."""
    folded = name.casefold()
    return HOUSE_SERVICE if folded == HOUSE_SERVICE else await store.find_service(tx, folded)


async def find_action(tx: Tx, *, service: str, action: str) -> Action | None:
    """Return an action by the slugs; the house's, too."""
    if service == HOUSE_SERVICE:
        return next((one for one in HOUSE.actions if one.slug == action), None)
    found = await store.action(tx, service=service, slug=action)
    return _action(found) if found else None


def faults_of_parameters(action: Action, given: Mapping[str, str]) -> list[Fault]:
    """Return what is wrong with a task's parameters, by their slugs. Empty text is as good as none."""
    known = {parameter.slug for parameter in action.parameters} | {one.slug for one in action.permissions}
    unknown = [Fault(slug, "is not a parameter of this action") for slug in given if slug not in known]
    return [*_parameter_faults(action.parameters, given), *_permission_faults(action.permissions, given), *unknown]


def listed(text: str) -> tuple[str, ...]:
    """Return the values of a parameter of type LIST."""
    return tuple(value for value in (part.strip() for part in text.split(",")) if value)


def lists_of(action: Action) -> frozenset[str]:
    """Return the slugs of the parameters that are lists."""
    lists = {one.slug for one in action.parameters if one.type is ParameterType.LIST}
    return frozenset(lists.union(one.slug for one in action.permissions))


def handed_on(action: Action, given: Mapping[str, str]) -> Mapping[str, str]:
    """Return a task's parameters as a worker gets them: of lists the values that were checked, with commas between."""
    lists = lists_of(action)
    return {slug: ",".join(listed(text)) if slug in lists else text for slug, text in given.items()}


def _parameter_faults(parameters: Iterable[Parameter], given: Mapping[str, str]) -> Iterator[Fault]:
    for parameter in parameters:
        text = given.get(parameter.slug, "")
        if text and (must_be := _type_fault(parameter.type, text)):
            yield Fault(parameter.slug, f"must be {must_be}")
        elif not text and not parameter.optional:
            yield Fault(parameter.slug, "is required", FaultKind.MISSING)


def _permission_faults(permissions: Iterable[Permission], given: Mapping[str, str]) -> Iterator[Fault]:
    for slug, permitted in permissions:
        values = listed(given.get(slug, ""))
        if not values:
            yield Fault(slug, "is required", FaultKind.MISSING)
        elif refused := [value for value in values if value not in permitted]:
            yield Fault(slug, f"may not hold {', '.join(refused)}", FaultKind.NOT_PERMITTED)


def _type_fault(type_: ParameterType, text: str) -> str | None:
    if type_ is ParameterType.DATE and not _is_date(text):
        return 'a date such as "2026-11-22", or a date and a time'
    if type_ is ParameterType.INTEGER and not (_INTEGER.fullmatch(text) and -_INT64 <= int(text) < _INT64):
        return "a whole number of 64 bits"
    if type_ is ParameterType.BOOLEAN and text.lower() not in _BOOLEANS:
        return "true or false"
    if type_ is ParameterType.LIST and not listed(text):
        return "a list of texts, with commas between"
    return None


def _is_date(text: str) -> bool:
    if not _DATE.match(text):  # Python would also take weeks, and dates without hyphens.
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


# Declaring


async def apply(tx: Tx, *, caller: Caller, services: tuple[Service, ...]) -> tuple[Service, ...]:
    """Make these the services, all others are gone; tasks that were created before are finished all the same.

    Raises InvalidFields, with paths such as "services[0].actions[1].slug".
    """
    faults = faults_of(services)
    if faults:
        raise InvalidFields(tuple(faults))
    before, after = _by_name(await get(tx)), _by_name(services)
    if list(before.items()) == list(after.items()):
        return services
    await store.clear(tx)
    for number, service in enumerate(services):
        await store.add_service(
            tx, slug=service.slug, name=service.name, folded=service.name.casefold(), position=number
        )
        for place, action in enumerate(service.actions):
            row = store.StoredAction(service.slug, action.slug, _to_json(action))
            await store.add_action(tx, row, position=place)
    changed = [key for key in before | after if before.get(key) != after.get(key)]
    await events.record(
        tx,
        organization_id=None,
        actor=caller,
        action="catalogue.applied",
        object=events.Object("catalogue", "catalogue"),
        before={key: before[key] for key in changed if key in before},
        after={key: after[key] for key in changed if key in after},
    )
    return services


def faults_of(services: tuple[Service, ...]) -> list[Fault]:
    """Return what is wrong with a catalogue, by field paths."""
    faults = list(_faults(services))
    if not faults and len(orjson.dumps(_by_name(services))) > MAX_BYTES:
        faults.append(Fault("services", f"are larger than {MAX_BYTES} bytes as JSON"))
    return faults


def _faults(services: tuple[Service, ...]) -> Iterator[Fault]:
    yield from _many(services, "services", MAX_SERVICES)
    taken: set[str] = set()  # A service is found by its slug and by its name.
    for number, service in enumerate(services):
        path = f"services[{number}]"
        if service.slug == HOUSE_SERVICE or service.name.casefold() == HOUSE_SERVICE:
            yield Fault(f"{path}.slug", f'"{HOUSE_SERVICE}" is the house\'s own')
        yield from _named(service.slug, service.name, path)
        keys = {"slug": service.slug, "name": service.name.casefold()}
        for field in (field for field, key in keys.items() if key in taken):
            yield Fault(f"{path}.{field}", "is another service's slug or name, capitals aside")
        taken.update(keys.values())
        yield from _many(service.actions, f"{path}.actions", MAX_ACTIONS)
        yield from _twice((action.slug for action in service.actions), f"{path}.actions", ".slug")
        for place, action in enumerate(service.actions):
            yield from _action_faults(action, f"{path}.actions[{place}]")


def _action_faults(action: Action, path: str) -> Iterator[Fault]:
    yield from _named(action.slug, action.name, path)
    yield from _described(action.description, path)
    yield from _many(action.parameters, f"{path}.parameters", MAX_PARAMETERS)
    yield from _twice((parameter.slug for parameter in action.parameters), f"{path}.parameters", ".slug")
    for number, parameter in enumerate(action.parameters):
        where = f"{path}.parameters[{number}]"
        yield from _named(parameter.slug, parameter.name, where)
        yield from _described(parameter.description, where)
        if parameter.slug in RESERVED:
            yield Fault(f"{where}.slug", "is the name of a field that every task has")
    slugs = {parameter.slug for parameter in action.parameters}
    yield from _many(action.permissions, f"{path}.permissions", MAX_PARAMETERS)
    yield from _twice((permission.slug for permission in action.permissions), f"{path}.permissions", ".slug")
    for number, (slug, values) in enumerate(action.permissions):
        where = f"{path}.permissions[{number}]"
        if not _SLUG.fullmatch(slug):
            yield Fault(f"{where}.slug", _SLUG_RULE)
        if slug in RESERVED or slug in slugs:
            yield Fault(f"{where}.slug", "is the name of another field or parameter")
        if not values:
            yield Fault(f"{where}.values", "must hold at least one value")
        yield from _many(values, f"{where}.values", MAX_VALUES)
        yield from _twice(values, f"{where}.values", "")
        for place, value in enumerate(values):
            if not 0 < len(value) <= MAX_VALUE or value != value.strip() or "," in value or not value.isprintable():
                rule = f"must be printable text of 1 to {MAX_VALUE} characters without commas"
                yield Fault(f"{where}.values[{place}]", rule)


_SLUG_RULE = "must be 1 to 63 of a-z, 0-9, '_' and '-'"


def _named(slug: str, name: str, path: str) -> Iterator[Fault]:
    if not _SLUG.fullmatch(slug):
        yield Fault(f"{path}.slug", _SLUG_RULE)
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        yield Fault(f"{path}.name", f"must be printable text of 1 to {MAX_NAME} characters")


def _described(text: str, path: str) -> Iterator[Fault]:
    if len(text) > MAX_DESCRIPTION or "\0" in text:
        yield Fault(f"{path}.description", f"must be text of at most {MAX_DESCRIPTION} characters")


def _many(items: Iterable[Any], path: str, most: int) -> Iterator[Fault]:
    if len(tuple(items)) > most:
        yield Fault(path, f"must be at most {most}")


def _twice(texts: Iterable[str], path: str, field: str) -> Iterator[Fault]:
    seen: set[str] = set()
    for number, text in enumerate(texts):
        if text in seen:
            yield Fault(f"{path}[{number}]{field}", "stands twice")
        seen.add(text)


def _by_name(services: Iterable[Service]) -> dict[str, Any]:
    """Return plain values, as events hold them: services by their slugs, actions by both."""
    plain: dict[str, Any] = {}
    for service in services:
        plain[service.slug] = service.name
        plain |= {f"{service.slug}/{action.slug}": orjson.loads(_to_json(action)) for action in service.actions}
    return plain


def _to_json(action: Action) -> str:
    return orjson.dumps(
        {
            "name": action.name,
            "description": action.description,
            "parameters": [parameter._asdict() for parameter in action.parameters],
            "permissions": {permission.slug: permission.values for permission in action.permissions},
        }
    ).decode()


def _action(stored: store.StoredAction) -> Action:
    said = orjson.loads(stored.definition)
    return Action(
        stored.slug,
        said["name"],
        said["description"],
        tuple(Parameter(**{**one, "type": ParameterType(one["type"])}) for one in said["parameters"]),
        tuple(Permission(slug, tuple(values)) for slug, values in said["permissions"].items()),
    )
