"""What can be asked, and what is wrong with a task's parameters."""

from dataclasses import dataclass

import pytest

from server.core import catalogue, events
from server.core.caller import Caller, Role
from server.core.catalogue import Action, Parameter, ParameterType, Permission, Service
from server.core.errors import FaultKind, InvalidFields

OPERATOR = Caller("c", Role.OPERATOR, None, "", "", "Ada")


def parameter(slug, type_=ParameterType.STRING, *, optional=False) -> Parameter:
    return Parameter(slug, slug.title(), type_, optional, "")


FETCH = Action(
    "fetch-data",
    "Fetch Data",
    "Fetches.",
    (parameter("device"), parameter("since", ParameterType.DATE, optional=True)),
    (Permission("data", ("sms", "photos")),),
)
LOG_IN = Action("log-in", "Log in", "", (parameter("password"),), ())
ICLOUD = Service("icloud", "iCloud", (FETCH, LOG_IN))
MAIL = Service("mail", "Mail", ())


async def apply(store, *services):
    return await store.write(catalogue.apply, caller=OPERATOR, services=services)


async def refused(store, *services) -> list[str]:
    with pytest.raises(InvalidFields) as raised:
        await apply(store, *services)
    return [fault.field for fault in raised.value.faults]


async def test_what_was_applied_is_what_there_is_in_its_order(store):
    await apply(store, MAIL, ICLOUD)
    assert await store.read(catalogue.get) == (MAIL, ICLOUD)
    assert await store.read(catalogue.find_action, service="icloud", action="fetch-data") == FETCH


async def test_a_catalogue_replaces_the_one_before_as_a_whole(store):
    await apply(store, MAIL, ICLOUD)
    await apply(store, ICLOUD._replace(actions=(LOG_IN,)))
    assert await store.read(catalogue.get) == (ICLOUD._replace(actions=(LOG_IN,)),)
    assert await store.read(catalogue.find_action, service="icloud", action="fetch-data") is None


async def test_a_bad_catalogue_changes_nothing(store):
    await apply(store, ICLOUD)
    assert await refused(store, MAIL, ICLOUD._replace(slug="i cloud")) == ["services[1].slug"]
    assert await store.read(catalogue.get) == (ICLOUD,)


async def test_an_event_tells_what_changed_and_nothing_is_told_when_nothing_did(store):
    await apply(store, ICLOUD, MAIL)
    await apply(store, ICLOUD._replace(name="Cloud"), MAIL)
    await apply(store, ICLOUD._replace(name="Cloud"), MAIL)
    first, second = await store.read(events.page, organization_id=None, after=0, most=10)
    assert first.action == second.action == "catalogue.applied"
    assert first.actor_name == "Ada"
    assert first.after.keys() == {"icloud", "icloud/fetch-data", "icloud/log-in", "mail"}
    assert (second.before, second.after) == ({"icloud": "iCloud"}, {"icloud": "Cloud"})


async def test_the_order_is_a_part_of_the_catalogue(store):
    await apply(store, ICLOUD, MAIL)
    await apply(store, MAIL, ICLOUD)
    assert await store.read(catalogue.get) == (MAIL, ICLOUD)


@pytest.mark.parametrize("name", ["icloud", "iCloud", "ICLOUD"])
async def test_a_service_is_found_by_its_slug_and_by_its_name_in_any_case(store, name):
    await apply(store, ICLOUD, MAIL)
    assert await store.read(catalogue.find_service, name=name) == "icloud"


async def test_an_unknown_service_is_not_found(store):
    await apply(store, ICLOUD)
    assert await store.read(catalogue.find_service, name="mail") is None


def with_action(**changes) -> Service:
    return Service("a", "A", (LOG_IN._replace(**changes),))


def with_permission(*permissions) -> Service:
    return with_action(permissions=tuple(Permission(*one) for one in permissions))


@pytest.mark.parametrize(
    ("service", "fields"),
    [
        (Service("", "A", ()), ["services[0].slug"]),
        (Service("A", "A", ()), ["services[0].slug"]),
        (Service("cloak", "Mine", ()), ["services[0].slug"]),
        (Service("mine", "Cloak", ()), ["services[0].slug"]),
        (Service("a", " A", ()), ["services[0].name"]),
        (Service("a", "A\n", ()), ["services[0].name"]),
        (Service("a", "x" * 101, ()), ["services[0].name"]),
        (Service("a", "A", (LOG_IN, LOG_IN)), ["services[0].actions[1].slug"]),
        (Service("a", "A", tuple(LOG_IN._replace(slug=f"x{n}") for n in range(101))), ["services[0].actions"]),
        (with_action(name=""), ["services[0].actions[0].name"]),
        (with_action(description="x" * 2001), ["services[0].actions[0].description"]),
        (with_action(parameters=(parameter("account"),)), ["services[0].actions[0].parameters[0].slug"]),
        (with_action(parameters=(parameter("x"), parameter("x"))), ["services[0].actions[0].parameters[1].slug"]),
        (with_permission(("password", ("a",))), ["services[0].actions[0].permissions[0].slug"]),
        (with_permission(("service", ("a",))), ["services[0].actions[0].permissions[0].slug"]),
        (with_permission(("x", ("a",)), ("x", ("b",))), ["services[0].actions[0].permissions[1].slug"]),
        (with_permission(("x", ())), ["services[0].actions[0].permissions[0].values"]),
        (with_permission(("x", ("a", "b", "a"))), ["services[0].actions[0].permissions[0].values[2]"]),
        (with_permission(("x", ("a,b",))), ["services[0].actions[0].permissions[0].values[0]"]),
        (with_permission(("x", ("",))), ["services[0].actions[0].permissions[0].values[0]"]),
    ],
)
async def test_every_fault_is_told_by_its_field(store, service, fields):
    assert await refused(store, service) == fields


@pytest.mark.parametrize("other", [Service("icloud", "Other", ()), Service("other", "ICLOUD", ())])
async def test_slugs_and_names_of_services_are_never_taken_twice(store, other):
    assert len(await refused(store, ICLOUD, other)) == 1


async def test_a_catalogue_that_is_too_large_for_one_message_is_refused(store):
    values = tuple(f"{number:0200}" for number in range(1000))
    permissions = tuple(Permission(f"p{number}", values) for number in range(6))
    assert await refused(store, Service("a", "A", (LOG_IN._replace(permissions=permissions),))) == ["services"]


@dataclass
class Case:
    given: dict[str, str]
    faults: list[tuple[str, FaultKind]]


GOOD = {"device": "d", "data": "sms"}


@pytest.mark.parametrize(
    "case",
    [
        Case(GOOD, []),
        Case({**GOOD, "data": "photos, sms"}, []),
        Case({**GOOD, "since": "2026-11-22"}, []),
        Case({**GOOD, "since": "2016-09-16 11:52:53.000000"}, []),
        Case({**GOOD, "since": "2018-01-01 00:00:00+00:00"}, []),
        Case({**GOOD, "since": "yesterday"}, [("since", FaultKind.INVALID)]),
        Case({**GOOD, "since": "2026-02-30"}, [("since", FaultKind.INVALID)]),
        Case({**GOOD, "since": "20261122"}, [("since", FaultKind.INVALID)]),
        Case({**GOOD, "since": "2026-W47-7"}, [("since", FaultKind.INVALID)]),
        Case({**GOOD, "since": ""}, []),
        Case({**GOOD, "device": ""}, [("device", FaultKind.MISSING)]),
        Case({}, [("device", FaultKind.MISSING), ("data", FaultKind.MISSING)]),
        Case({**GOOD, "data": " , "}, [("data", FaultKind.MISSING)]),
        Case({**GOOD, "data": "sms,SMS"}, [("data", FaultKind.NOT_PERMITTED)]),
        Case({**GOOD, "colour": "red"}, [("colour", FaultKind.INVALID)]),
    ],
)
def test_parameters_are_held_against_their_declaration(case):
    assert [(fault.field, fault.kind) for fault in catalogue.faults_of_parameters(FETCH, case.given)] == case.faults


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        (
            ParameterType.INTEGER,
            ["0", "-5", "+7", "9223372036854775807"],
            ["1.0", "9223372036854775808", "x", "٣", "1 "],
        ),
        (ParameterType.BOOLEAN, ["true", "False"], ["1", "yes", "tru"]),
        (ParameterType.LIST, ["a", "a,b"], [",", " "]),
        (ParameterType.STRING, ["anything at all", ","], []),
    ],
)
def test_a_type_says_what_a_text_may_be(type_, good, bad):
    action = LOG_IN._replace(parameters=(parameter("x", type_),))
    assert [text for text in good if catalogue.faults_of_parameters(action, {"x": text})] == []
    assert [text for text in bad if not catalogue.faults_of_parameters(action, {"x": text})] == []
