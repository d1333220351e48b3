"""Allowances: what a token of asapi may ask for."""

import pytest

from server.core.allowances import MAX_ALLOWANCES, Allowances, faults_of, faults_of_values
from server.core.catalogue import Action, Permission, Service

FETCH = Action("fetch-data", "Fetch Data", "", (), (Permission("data", ("sms", "photos")), Permission("kind", ("a",))))
LOG_IN = Action("log-in", "Log In", "", (), ())
ICLOUD, MAIL = Service("icloud", "iCloud", (FETCH, LOG_IN)), Service("mail", "Mail", (LOG_IN,))
CLOAK = Service("cloak", "Cloak", (LOG_IN,))


def shown(*texts: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the permissions of each action that is allowed."""
    return {
        f"{service.slug}/{action.slug}": dict(action.permissions)
        for service in Allowances(texts).of([CLOAK, ICLOUD, MAIL])
        for action in service.actions
    }


def test_without_any_all_is_allowed_but_the_house_s_own():
    assert shown() == {
        "icloud/fetch-data": {"data": ("sms", "photos"), "kind": ("a",)},
        "icloud/log-in": {},
        "mail/log-in": {},
    }
    assert Allowances(()).limits("cloak", "log-in") is None
    assert not Allowances(()).has_service("cloak")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("mail/log-in",), {"mail/log-in": {}}),
        (("cloak/log-in",), {"cloak/log-in": {}}),
        (("icloud/fetch-data",), {"icloud/fetch-data": {"data": ("sms", "photos"), "kind": ("a",)}}),
        (("icloud/fetch-data:data=sms",), {"icloud/fetch-data": {"data": ("sms",), "kind": ("a",)}}),
        (
            ("icloud/fetch-data:data=sms", "icloud/fetch-data:data=photos", "icloud/fetch-data:kind=b"),
            {"icloud/fetch-data": {"data": ("sms", "photos"), "kind": ()}},
        ),
        (
            ("icloud/fetch-data", "icloud/fetch-data:data= sms ,mms"),
            {"icloud/fetch-data": {"data": ("sms",), "kind": ("a",)}},
        ),
        (("icloud/other", "other/log-in"), {}),
    ],
)
def test_only_what_is_named_is_allowed(texts, expected):
    assert shown(*texts) == expected


def test_parameters_may_hold_no_other_values():
    limits = Allowances(("icloud/fetch-data:device=one,two",)).limits("icloud", "fetch-data")
    for lists in (frozenset(), frozenset({"device"})):
        assert faults_of_values(limits, {"device": "two", "since": "three"}, lists=lists) == []
        assert faults_of_values(limits, {}, lists=lists) == []
        assert faults_of_values(limits, {"device": ""}, lists=lists) == []
    assert faults_of_values(limits, {"device": " two ,one,"}, lists={"device"}) == []
    [fault] = faults_of_values(limits, {"device": "two,three"}, lists={"device"})
    assert (fault.field, fault.description, fault.kind) == ("device", "may not hold three", "NOT_PERMITTED")


@pytest.mark.parametrize("text", ["one,two", " one", "one,", ","])
def test_a_parameter_that_is_no_list_holds_one_value_as_it_is_given(text):
    limits = Allowances(("icloud/fetch-data:device=one,two",)).limits("icloud", "fetch-data")
    [fault] = faults_of_values(limits, {"device": text}, lists=frozenset())
    assert fault.description == f"may not hold {text}"


@pytest.mark.parametrize(
    "text", ["", "icloud", "icloud/", "/x", "iCloud/x", "a/b:", "a/b:c", "a/b:c=", "a/b:c=,", "a/b:c=\n", "a/b/c"]
)
def test_what_is_no_allowance_is_a_fault(text):
    assert [fault.field for fault in faults_of(["a/b", text])] == ["allow[1]"]


def test_too_many_and_too_long_ones_are_faults():
    assert [fault.field for fault in faults_of(["a/b"] * (MAX_ALLOWANCES + 1))] == ["allow"]
    assert [fault.field for fault in faults_of(["a/b:c=" + "x" * 1000])] == ["allow[0]"]
