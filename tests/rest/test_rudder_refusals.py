"""What the rudder API says of rules that cannot be: bad values, bad JSON, other encodings, whatever is sent."""

import json

import grpc.aio
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.core import rules
from server.core.rule_content import Given
from tests.rest.rudder_edge import COMPOSITE, FORM, FULL, JSON, RULE, RULES, Edge, settle, token_of


@pytest_asyncio.fixture
async def organization(store):
    return await settle(store)


@pytest_asyncio.fixture
async def edge(store, server, organization):
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield Edge(channel, await token_of(store, "acme"))


@pytest_asyncio.fixture
async def rule(edge):
    """The rule r1, with a value in every field."""
    return (await edge("PUT", RULES, FULL)).rule


# Bad values


MODIFY = "Could not modify Rule r1 cause is: "
BAD = [
    ("displayName=ab", f"{MODIFY}ab must be at least have a 3 character size."),
    ({"displayName": "ab"}, f"{MODIFY}ab must be at least have a 3 character size."),
    ("displayName=", f"{MODIFY} must be at least have a 3 character size."),
    ("displayName=one&displayName=two", f"{MODIFY}updateRule should contain only one value for displayName."),
    ("enabled=true&enabled=true", f"{MODIFY}updateRule should contain only one value for enabled."),
    *(
        (f"enabled={text}", f"{MODIFY}value for boolean should be true or false instead of {text}.")
        for text in ("True", "1", "yes", "")
    ),
    *(
        ({key: value}, f"{MODIFY}Not a good value for parameter {key}.")
        for key, value in [
            ("displayName", None), ("displayName", 42), ("displayName", ["x"]), ("shortDescription", None),
            ("longDescription", True), ("enabled", "true"), ("enabled", 1), ("enabled", None), ("directives", None),
            ("directives", [1]), ("directives", ["a", None]), ("directives", {"a": 1}), ("directives", 1.5),
            ("targets", None), ("targets", [1]), ("targets", [["group:a"]]), ("targets", 10**400), ("tags", None),
            ("tags", ["a:b"]), ("tags", [{"a": 1}]), ("tags", "a:b"),
        ]
    ),
    *(
        (f"{key}={text}", f"{MODIFY}Not a good value for parameter {key}.")
        for key in ("directives", "targets", "tags")
        for text in ("[bad", "{", '["a"', '["a"] b', '{"a": 1')
    ),
    ("directives=a&directives=[bad", f"{MODIFY}Not a good value for parameter directives."),
    ("targets=nowhere", f"{MODIFY}nowhere is not a valid RuleTarget."),
    ({"targets": ["nowhere"]}, f"{MODIFY}nowhere is not a valid RuleTarget."),
]  # fmt: skip


@pytest.mark.parametrize(("body", "said"), BAD)
async def test_a_bad_value_is_told_and_changes_nothing(edge, rule, body, said):
    answer = await edge("POST", RULE, body)
    assert (answer.status, answer.body["id"], answer.error) == (500, "r1", said)
    assert (await edge("GET", RULE)).rule == rule


@pytest.mark.parametrize(
    "body",
    [
        {"displayName": "a\x01bc"},
        {"displayName": "x" * 256},
        {"shortDescription": "\x00"},
        {"displayName": "abc\ud800"},
        {"directives": ["\ud83d"]},
        {"directives": ["ok", "a\nb"]},
        {"directives": [""]},
        {"directives": ["d"] * 1 + [f"d{number}" for number in range(10_000)]},
        {"tags": [{"": "x"}]},
        {"targets": [COMPOSITE, "group:a"]},
        {"targets": {"include": {"xor": []}}},
        {"targets": ["group:\ud800"]},
    ],
    ids=lambda body: next(iter(body)),
)
async def test_what_cannot_be_kept_is_refused_with_its_name(edge, rule, body):
    answer = await edge("POST", RULE, body)
    assert answer.status == 500
    assert answer.error.startswith(MODIFY)
    assert next(iter(body)) in answer.error
    assert (await edge("GET", RULE)).rule == rule


async def test_ten_thousand_directives_are_a_rule(edge, rule):
    directives = [f"directive-{number:06}" for number in range(10_000)]
    assert (await edge("POST", RULE, {"directives": directives})).rule["directives"] == directives


@pytest.mark.parametrize(
    "name", ["Grüße 🐢", "日本語の規則", "a" * 255, "</script>", "%s{0}", "~0~1", "&<>'\"", "tab bed"]
)
async def test_names_of_any_script_come_back_as_they_were(edge, name):
    made = (await edge("PUT", RULES, {"displayName": name})).rule
    assert made["displayName"] == name
    assert f"has the name {name[:150]}" in (await edge("PUT", RULES, {"displayName": name})).error


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "No Json data sent"),
        (b"", None),
        (b"  ", None),
        (b"[]", "No Json data sent"),
        (b'"text"', "No Json data sent"),
        (b"1", "No Json data sent"),
        (b"null", "No Json data sent"),
        (b"NaN", "No Json data sent"),
        (b'{"enabled": NaN}', "No Json data sent"),
        (b"{} {}", "No Json data sent"),
        (b'{"enabled": true} x', "No Json data sent"),
        (b'{"enabled": true} &x', None),
        (b'{"enabled": true, "enabled": false}', "No Json data sent: a member of an object stands twice"),
        (b'{"x": ' + b"[" * 200 + b"]" * 200 + b"}", "No Json data sent: it is nested deeper than 100 levels"),
        (b'{"x": ' + b"[" * 500_000, "No Json data sent: it is nested deeper than 100 levels"),
        (b'{"displayName": "\xff\xfe"}', "No Json data sent: it is not UTF-8."),
        ('{"displayName": "new"}'.encode("utf-16"), "No Json data sent: it is not UTF-8."),
        (b'{"displayName": "a\nb"}', "No Json data sent"),
        (b"displayName=form", "No Json data sent"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_bad_json_is_refused_before_anything_else(edge, rule, body, said):
    for path in (RULE, f"{RULES}/missing"):
        answer = await edge("POST", path, body, kind=JSON)
        if said is None:
            assert answer.status == (200 if path == RULE else 500)
        else:
            assert (answer.status, answer.error, "id" in answer.body) == (500, said, False)
    assert (await edge("GET", RULE)).rule == rule
    created = await edge("PUT", RULES, body, kind=JSON)
    assert created.status == 500
    assert created.error == said or "there is no value for displayName" in created.error


@pytest.mark.parametrize(
    ("query", "body", "kind"),
    [
        ("?displayName=%FF", None, None),
        ("?%FF=x", None, None),
        ("", b"displayName=%E9t%E9", FORM),
        (
            "",
            b"--x\r\ncontent-disposition: form-data; name=enabled\r\n\r\n\xe9\r\n--x--",
            "multipart/form-data; boundary=x",
        ),
        ("", "displayName=été".encode("latin-1"), FORM),
        ("", "displayName=été".encode("latin-1"), f"{FORM}; charset=iso-8859-1"),
        ("", '{"displayName": "été"}'.encode("utf-16"), f"{JSON}; charset=utf-16"),
    ],
)
async def test_another_encoding_than_utf8_is_refused(edge, rule, query, body, kind):
    answer = await edge("POST", RULE + query, body, kind=kind)
    assert (answer.status, "UTF-8" in answer.error) == (500, True)
    assert (await edge("GET", RULE)).rule == rule


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b'{"displayName": "not read"}'),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="displayName"\r\n\r\nnew'),
        (
            'Multipart/Form-Data; boundary="x"',
            b'--x\r\nContent-Disposition: form-data; name="displayName"; filename="f"\r\n\r\nnew\r\n--x--',
        ),
    ],
)
async def test_a_form_in_parts_that_is_none_is_refused(edge, rule, kind, body):
    answer = await edge("POST", f"{RULE}?enabled=false", body, kind=kind)
    assert (answer.status, answer.body["action"], "id" in answer.body) == (500, "updateRule", False)
    assert answer.error.startswith("The body is not a form of texts: ")
    assert (await edge("GET", RULE)).rule == rule


async def test_too_many_parameters_are_refused(edge, rule):
    answer = await edge("POST", RULE, "&".join(["directives=a"] * 30_000))
    assert answer.error == "There are more than 20000 parameters."
    assert (await edge("POST", RULE, "&".join(f"directives={n}" for n in range(9_000)))).rule


# Bad creations


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("id=r9", "Could not create Rule r9 cause is: there is no value for displayName."),
        ({"id": "r9"}, "Could not create Rule r9 cause is: there is no value for displayName."),
        ("id=r9&displayName=ab", "Could not create Rule r9 cause is: ab must be at least have a 3 character size."),
        (
            "id=r9&displayName=new&enabled=no",
            "Could not create Rule r9 cause is: value for boolean should be true or false instead of no.",
        ),
        ("id=r1&displayName=new", "Could not create Rule new (id:r1) cause is: There is a rule r1 already."),
        (
            "id=r9&displayName=one",
            "Could not create Rule one (id:r9) cause is: The rule r1 has the name one already.",
        ),
        (
            "id=r9&displayName=new&source=none",
            "Could not create Rule new (id:r9) based on Rule none : cause is: Could not find Rule none.",
        ),
        (
            {"id": "r9", "displayName": "new", "source": 1},
            "Could not create Rule r9 cause is: Not a good value for parameter source.",
        ),
        (
            "id=r9&displayName=new&source=r1&source=r1",
            "Could not create Rule r9 cause is: updateRule should contain only one value for source.",
        ),
    ],
)
async def test_a_rule_that_cannot_be_created_is_told_why(edge, rule, body, said):
    answer = await edge("PUT", RULES, body)
    assert (answer.status, answer.body["action"], answer.error) == (500, "createRule", said)
    assert answer.body["id"] in said
    assert (await edge("GET", RULES)).body["data"] == {"rules": [rule]}


async def test_a_refused_creation_names_the_id_that_the_rule_would_have_had(edge):
    answer = await edge("PUT", RULES, "displayName=ab")
    assert len(answer.body["id"]) == 36
    assert f"Could not create Rule {answer.body['id']} cause" in answer.error


@pytest.mark.parametrize("rule_id", ["", "a/b", "a\\b", ".", "..", "a\nb", "a\x00", "x" * 256, "a\ud800"])
async def test_an_id_that_no_path_could_hold_is_refused(edge, rule_id):
    answer = await edge("PUT", RULES, {"id": rule_id, "displayName": "one"})
    assert (answer.status, " cause is: id must be 1 to 255 printable characters" in answer.error) == (500, True)
    assert (await edge("GET", RULES)).body["data"] == {"rules": []}


async def test_a_taken_name_is_refused_on_update_too(edge, rule):
    await edge("PUT", RULES, "id=r2&displayName=two")
    answer = await edge("POST", RULE, "displayName=two")
    assert answer.error == "Update failed, cause is: The rule r2 has the name two already."


async def test_more_rules_than_one_answer_can_hold_are_refused_and_each_can_still_be_read(edge, store, organization):
    directives = tuple(f"{number:0100}" for number in range(9_900))
    for number in range(17):
        given_rule = Given(display_name=f"rule {number}", directives=directives)
        await store.write(rules.create, caller=organization, given=given_rule, rule_id=f"r{number}")
    answer = await edge("GET", RULES)
    assert (answer.status, "There is too much to list at once" in answer.error) == (500, True)
    assert (await edge("GET", f"{RULES}/r16?prettify=true")).rule["directives"] == list(directives)


# Whatever comes


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "displayName",
    "shortDescription",
    "longDescription",
    "enabled",
    "directives",
    "targets",
    "tags",
    "id",
    "source",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), ANYTHING, max_size=4), st.binary(max_size=30))
async def test_whatever_is_sent_is_answered_in_the_envelope(edge, members, raw):
    for method, path in (("PUT", RULES), ("POST", RULE)):
        for body, kind in ((json.dumps(members).encode(), JSON), (raw, JSON), (raw, FORM)):
            answer = await edge(method, path, body, kind=kind)
            assert answer.status in (200, 500)
            assert answer.body["result"] == ("success" if answer.status == 200 else "error")
            assert answer.body.get("errorDetails") != "Internal error."
