"""What rules apply to."""

import pytest

from server.core import targets

EMPTY = {"or": []}


def read(*values):
    return targets.read(values, "rule.targets")


def nested(depth):
    group = {"or": ["group:a"]}
    for _ in range(depth - 1):
        group = {"and": [group]}
    return {"include": group}


@pytest.mark.parametrize(
    "target",
    [
        "special:all", "special:all_exceptPolicyServers", "special:all_servers_with_role",
        "special:all_nodes_without_role", "group:a b/c", "policyServer:root", "node:n", "group:" + "x" * 255,
        {"include": {"or": ["group:a"]}, "exclude": {"and": ["group:b", {"or": []}]}},
    ],
)  # fmt: skip
def test_targets_are_told_as_they_came(target):
    assert read(target) == ((target,), [])


def test_simple_targets_are_any_number_each_once():
    assert read("group:b", "group:a", "group:b") == (("group:b", "group:a"), [])
    assert read() == ((), [])


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ({"include": {"and": ["group:a"]}}, {"include": {"and": ["group:a"]}, "exclude": EMPTY}),
        ({"exclude": {"or": ["group:a"]}}, {"include": EMPTY, "exclude": {"or": ["group:a"]}}),
    ],
)
def test_a_composite_without_one_of_its_parts_gets_an_empty_one(given, whole):
    assert read(given) == ((whole,), [])


@pytest.mark.parametrize(
    "value",
    [
        "", "group:", "all", "special:", "special:All", "group:a\nb", "group:\x00", "group:\ud800",
        "group:" + "x" * 256, " special:all", None, 1, True, ["group:a"], {}, {"or": ["group:a"]},
        {"include": EMPTY, "more": EMPTY},
        {"include": ["group:a"]}, {"include": {}}, {"include": None}, {"include": {"or": ["group:a"], "and": []}},
        {"include": {"or": "group:a"}}, {"include": {"xor": []}}, {"include": {"or": [1]}},
        {"include": {"or": ["all"]}}, {"include": {"or": [{"include": EMPTY}]}}, {"include": {"or": [["group:a"]]}},
    ],
)  # fmt: skip
def test_what_is_no_target_is_told(value):
    _, faults = read("special:all", value)
    assert [fault.field for fault in faults] == ["rule.targets[1]"]
    assert faults[0].description.isprintable()


def test_a_composite_stands_alone():
    for others in (("special:all",), ({"include": {"or": ["group:b"]}},)):
        _, faults = read({"include": EMPTY}, *others)
        assert [fault.field for fault in faults] == ["rule.targets"]
    assert read({"include": EMPTY}, {"exclude": EMPTY}) == (({"include": EMPTY, "exclude": EMPTY},), [])


def test_groups_may_be_ten_levels_deep():
    assert read(nested(10))[1] == []
    assert read(nested(11))[1] != []
    assert read(nested(100_000))[1] != []


def test_many_targets_are_counted_wherever_they_stand():
    many = [f"group:{number}" for number in range(targets.MAX_TARGETS)]
    assert read({"include": {"or": many}})[1] == []
    for values in (({"include": {"or": [*many, "group:x"]}},), (*many, "group:x")):
        assert [fault.field for fault in read(*values)[1]] == ["rule.targets"]
