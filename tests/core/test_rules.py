"""Rules, where no review is asked for."""

import asyncio

import orjson
import pytest

from server.core import changes, rules
from server.core.change_content import Remark
from server.core.errors import (
    FaultKind,
    InvalidFields,
    ListTooLong,
    RuleChangedMeanwhile,
    RuleExists,
    RuleNameTaken,
    RuleNotFound,
)
from server.core.rule_content import MAX_DIRECTIVES, Given, Tag
from server.store import rules as stored_rules
from tests.core.reviewed import create, delete, faults_of, get, log, setting, told, update, writer

COMPOSITE = {"include": {"or": ["group:a", {"and": ["group:b", "special:all"]}]}, "exclude": {"or": ["node:c"]}}
FULL = {
    "short_description": "short",
    "long_description": "long\nlines\tand ünïcödé",
    "directives": ("d2", "d1"),
    "targets": ("special:all", "group:a"),
    "tags": (Tag("env", "prod"), Tag("env", "")),
    "enabled": False,
}


@pytest.fixture
async def anna(store):
    return await writer(store)


async def test_a_rule_needs_no_more_than_a_name(store, anna):
    rule = await create(store, anna, rule_id=None)
    assert len(rule.id) == 36
    assert rule == await get(store, anna, rule.id)
    assert orjson.loads(rule.document()) == {
        "id": rule.id, "displayName": "Some rule", "shortDescription": "", "longDescription": "",
        "directives": [], "targets": [], "enabled": True, "system": False,
    }  # fmt: skip
    assert 0 < rule.create_time == rule.update_time


async def test_a_rule_keeps_all_that_it_is_given(store, anna):
    rule = await create(store, anna, **FULL)
    assert (rule.id, rule.display_name) == ("r", "Some rule")
    assert {name: getattr(rule, name) for name in FULL} == FULL
    assert await get(store, anna) == rule
    document = await store.read(rules.document, caller=anna, rule_id="r")
    assert document == rule.document()
    assert orjson.loads(document)["tags"] == [{"env": "prod"}, {"env": ""}]


async def test_only_given_fields_change_and_the_etag_with_them(store, anna):
    old = await create(store, anna, **FULL)
    revision = await update(store, anna, short_description="other", enabled=True)
    assert revision.change_request is None
    assert revision.rule == await get(store, anna)
    assert revision.rule.etag != old.etag
    assert revision.rule.update_time > old.update_time
    kept = old._replace(short_description="other", enabled=True)
    assert revision.rule == kept._replace(etag=revision.rule.etag, update_time=revision.rule.update_time)
    emptied = (await update(store, anna, directives=(), targets=(), tags=())).rule
    assert (emptied.directives, emptied.targets, emptied.tags) == ((), (), ())


async def test_a_deleted_rule_is_returned_and_gone(store, anna):
    rule = await create(store, anna, **FULL)
    assert (await delete(store, anna)).rule == rule
    for call in (get(store, anna), delete(store, anna), update(store, anna, enabled=True)):
        with pytest.raises(RuleNotFound, match="There is no rule r"):
            await call


async def test_what_changes_nothing_leaves_the_etag_and_no_event(store, anna):
    old = await create(store, anna, **FULL)
    events = await log(store, anna)
    shuffled = {"directives": ("d1", "d2", "d1"), "targets": ("group:a", "special:all"), "tags": FULL["tags"][::-1]}
    assert (await update(store, anna, display_name="Some rule", **{**FULL, **shuffled})).rule == old
    assert (await update(store, anna)).rule == old
    assert await log(store, anna) == events


async def test_ids_and_names_are_taken_once_an_organization(store, anna):
    await create(store, anna)
    with pytest.raises(RuleExists):
        await create(store, anna, "Another name")
    for name_taken in (create(store, anna, rule_id="s"), create(store, anna, rule_id=None)):
        with pytest.raises(RuleNameTaken, match="The rule r has the name Some rule already"):
            await name_taken
    await create(store, anna, "Another name", rule_id="s")
    with pytest.raises(RuleNameTaken):
        await update(store, anna, "s", display_name="Some rule")
    assert (await get(store, anna, "s")).display_name == "Another name"
    await update(store, anna, "s", display_name="Another name", enabled=False)
    bob = await writer(store, "other")
    await create(store, bob)


async def test_another_organization_s_rule_answers_as_an_unknown_one(store, anna):
    bob = await writer(store, "other")
    rule = await create(store, anna)
    for call in (
        get(store, bob), update(store, bob, enabled=False), delete(store, bob),
        create(store, bob, rule_id="s", source_id="r"), store.read(rules.document, caller=bob, rule_id="r"),
    ):  # fmt: skip
        with pytest.raises(RuleNotFound):
            await call
    assert (await store.read(rules.page, caller=bob, page_size=0, page_token="", quickly=False)).items == []
    assert await store.read(rules.documents, caller=bob, quickly=True) == ""
    assert await get(store, anna) == rule


async def test_a_copy_has_what_is_not_given_from_its_source_and_is_disabled(store, anna):
    source = await create(store, anna, **{**FULL, "enabled": True, "targets": (COMPOSITE,)})
    copy = await create(store, anna, "A copy", rule_id="s", source_id="r", short_description="mine", enabled=True)
    same = ("long_description", "directives", "targets", "tags")
    assert [getattr(copy, name) for name in same] == [getattr(source, name) for name in same]
    assert (copy.short_description, copy.enabled) == ("mine", False)
    assert copy.etag != source.etag
    with pytest.raises(RuleNotFound, match="There is no rule nope"):
        await create(store, anna, "Another copy", rule_id="t", source_id="nope")


async def test_a_stale_etag_is_refused_also_after_the_rule_was_made_anew(store, anna):
    first = await create(store, anna)
    second = (await update(store, anna, enabled=False, etag=first.etag)).rule
    for stale in (update(store, anna, enabled=True, etag=first.etag), delete(store, anna, etag=first.etag)):
        with pytest.raises(RuleChangedMeanwhile):
            await stale
    assert await get(store, anna) == second
    await delete(store, anna, etag=second.etag)
    await create(store, anna, enabled=False)
    for stale in (first, second):
        with pytest.raises(RuleChangedMeanwhile):
            await delete(store, anna, etag=stale.etag)


@pytest.mark.parametrize("rule_id", ["", "a/b", "a\\b", ".", "..", "a\nb", "a\x00", "\ud800", "x" * 256])
async def test_an_id_that_no_rule_can_have_is_refused(store, anna, rule_id):
    assert await faults_of(create(store, anna, rule_id=rule_id)) == ["rule.id"]
    with pytest.raises(RuleNotFound):
        await get(store, anna, rule_id)


SAME = ["Über rule", "U\u0308ber rule", " Über rule", "Über rule\u3000", "Über\u200d rule"]


@pytest.mark.parametrize("other", SAME)
async def test_names_that_look_the_same_are_the_same_and_are_told_as_they_were_given(store, anna, other):
    assert (await create(store, anna, other)).display_name == other
    for name in SAME:
        with pytest.raises(RuleNameTaken):
            await create(store, anna, name, rule_id=None)
        assert (await update(store, anna, display_name=name)).rule.display_name == name
    await create(store, anna, "über rule", rule_id="s")


@pytest.mark.parametrize("name", ["می‌خواهم", "👩‍👩‍👧 rules", "क्‍ष rule", "עברית", "a  b", "‥.…"])
async def test_names_of_every_script_are_names(store, anna, name):
    assert (await create(store, anna, name)).display_name == name


async def test_a_rule_whose_name_nobody_could_choose_any_more_can_be_sent_back(store, anna):
    rule = (await create(store, anna, "Old"))._replace(id="s", display_name="O\u200bld")
    await store.write(stored_rules.add, organization_id=anna.tenant, rule=changes.stored_rule(rule))
    assert (await update(store, anna, "s", display_name=rule.display_name, enabled=False)).rule.enabled is False
    assert await faults_of(update(store, anna, "s", display_name="O\u200bld!")) == ["rule.display_name"]


@pytest.mark.parametrize("rule_id", [" a", "a ", " ", "a\u200b", "a\u00a0", "\u202ea"])
async def test_ids_have_no_blanks_around_them_and_nothing_unseen_in_them(store, anna, rule_id):
    assert await faults_of(create(store, anna, rule_id=rule_id)) == ["rule.id"]


@pytest.mark.parametrize("rule_id", ["a b", "%2F:1", "x:accept", "…", "規則", "a.json", "x" * 255, "🦀"])
async def test_other_ids_are_taken_as_they_are(store, anna, rule_id):
    assert (await create(store, anna, rule_id=rule_id)).id == rule_id
    assert (await get(store, anna, rule_id)).id == rule_id
    page = await store.read(rules.page, caller=anna, page_size=1, page_token="", quickly=False)
    assert [rule.id for rule in page.items] == [rule_id]


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ({"display_name": "ab"}, ["rule.display_name"]),
        ({"display_name": "a" * 256}, ["rule.display_name"]),
        ({"display_name": "a\nbc"}, ["rule.display_name"]),
        ({"display_name": "abc\ud800"}, ["rule.display_name"]),
        ({"display_name": "   "}, ["rule.display_name"]),
        ({"display_name": "\u3000\u2003\u200d"}, ["rule.display_name"]),
        ({"display_name": "Some\u200b rule"}, ["rule.display_name"]),
        ({"display_name": "Some \u202eelur"}, ["rule.display_name"]),
        ({"short_description": "\x00"}, ["rule.short_description"]),
        ({"long_description": "x" * 10_001}, ["rule.long_description"]),
        ({"directives": ("a", "", "b" * 256, "\x07")}, [f"rule.directives[{n}]" for n in (1, 2, 3)]),
        ({"directives": tuple(map(str, range(MAX_DIRECTIVES + 1)))}, ["rule.directives"]),
        ({"tags": (Tag("", "x"), Tag("k", "\n"), Tag("k", ""))}, ["rule.tags[0]", "rule.tags[1]"]),
        ({"tags": tuple(Tag(str(n), "") for n in range(101))}, ["rule.tags"]),
        ({"targets": ("special:some",)}, ["rule.targets[0]"]),
        ({"directives": tuple(str(n).rjust(250, "x") for n in range(5000))}, ["rule"]),
    ],
)  # fmt: skip
async def test_every_fault_is_told_and_nothing_is_changed(store, anna, given, paths):
    assert await faults_of(create(store, anna, **given)) == paths
    rule = await create(store, anna)
    events = await log(store, anna)
    assert await faults_of(update(store, anna, **given)) == paths
    assert await get(store, anna) == rule
    assert await log(store, anna) == events


async def test_a_name_of_its_own_is_needed_even_by_a_copy(store, anna):
    await create(store, anna)
    for source_id in (None, "r"):
        with pytest.raises(InvalidFields) as raised:
            await store.write_guarded(rules.create, caller=anna, given=Given(), source_id=source_id)
        [fault] = raised.value.faults
        assert (fault.field, fault.kind) == ("rule.display_name", FaultKind.MISSING)


async def test_ten_thousand_directives_are_no_trouble(store, anna):
    many = tuple(f"{number:036}" for number in range(MAX_DIRECTIVES))
    await create(store, anna, directives=many)
    assert (await get(store, anna)).directives == many
    assert (await update(store, anna, directives=many[::-1])).rule.directives == many
    assert (await update(store, anna, directives=many[1:])).rule.directives == many[1:]
    *_, event = await log(store, anna)
    assert event.after == {"directives": list(many[1:])}


async def test_pages_continue_where_the_last_one_ended_and_end_at_two_mebibytes(store, anna):
    large = "x" * 10_000
    for number in range(5):
        directives = tuple(f"{place}".rjust(250, "y") for place in range(3000))
        await create(store, anna, f"Rule {number}", rule_id=str(number), directives=directives, long_description=large)
    seen, token = [], ""
    while True:
        page = await store.read(rules.page, caller=anna, page_size=4, page_token=token, quickly=False)
        seen.append([rule.id for rule in page.items])
        token = page.next_page_token
        if not token:
            break
    assert seen == [["0", "1"], ["2", "3"], ["4"]]
    asked = {"caller": anna, "page_size": 1}
    assert await faults_of(store.read(rules.page, **asked, page_token="?", quickly=False)) == ["page_token"]
    assert await store.read(rules.page, **asked, page_token="", quickly=True) is None


async def test_all_rules_are_listed_by_id_and_too_many_only_at_leisure(store, anna, monkeypatch):
    made = [await create(store, anna, f"Rule {name}", rule_id=name) for name in ("b", "B", "a")]
    by_id = ",".join(rule.document() for rule in sorted(made))
    assert await store.read(rules.documents, caller=anna, quickly=True) == by_id
    for limit in ("QUICK", "QUICK_BYTES"):
        with monkeypatch.context() as patched:
            patched.setattr(changes, limit, 2)
            assert await store.read(rules.documents, caller=anna, quickly=True) is None
            assert await store.scan(rules.documents, caller=anna, quickly=False) == by_id
    monkeypatch.setattr(changes, "MAX_LISTED", 2)
    with pytest.raises(ListTooLong):
        await store.scan(rules.documents, caller=anna, quickly=False)


async def test_each_change_has_its_event_with_what_changed_and_why(store, anna):
    rule = await create(store, anna, tags=(Tag("k", "v"),), reason="new")
    await update(store, anna, display_name="New name", enabled=True, remark=Remark("renamed"))
    await delete(store, anna, remark=Remark("old"))
    created, updated, deleted = await log(store, anna)
    assert {(event.actor_id, event.actor_name) for event in (created, updated, deleted)} == {("anna", "Anna")}
    assert {event.object for event in (created, updated, deleted)} == {("rule", "r")}
    whole = {
        "display_name": rule.display_name, "short_description": "", "long_description": "", "directives": [],
        "targets": [], "tags": [{"key": "k", "value": "v"}], "enabled": True,
    }  # fmt: skip
    assert told(created) == ("rule.created", None, whole, "new")
    before, after = {"display_name": "Some rule"}, {"display_name": "New name"}
    assert told(updated) == ("rule.updated", before, after, "renamed")
    assert told(deleted) == ("rule.deleted", {**whole, **after}, None, "old")


async def test_a_reason_that_is_not_asked_for_is_not_read(store, anna):
    await setting(store, reason="disabled")
    await create(store, anna, reason="\x00")
    await update(store, anna, enabled=False, remark=Remark("\x00"))
    assert [event.reason for event in await log(store, anna)] == ["", ""]


async def test_a_reason_is_optional_unless_it_is_mandatory(store, anna):
    await create(store, anna)
    assert await faults_of(update(store, anna, enabled=False, remark=Remark("\x00"))) == ["reason"]
    assert await faults_of(delete(store, anna, remark=Remark("x" * 10_001))) == ["reason"]
    await setting(store, reason="mandatory")
    for reason, kind in ((None, FaultKind.MISSING), ("", FaultKind.MISSING), ("four", FaultKind.TOO_SHORT)):
        for call in (
            create(store, anna, "Another", rule_id="s", reason=reason),
            update(store, anna, enabled=False, remark=Remark(reason)),
            delete(store, anna, remark=Remark(reason)),
        ):
            with pytest.raises(InvalidFields) as raised:
                await call
            assert [(fault.field, fault.kind) for fault in raised.value.faults] == [("reason", kind)]
    await delete(store, anna, remark=Remark("fives"))
    assert [event.reason for event in await log(store, anna)] == ["", "fives"]


async def test_what_is_said_of_a_change_request_is_not_read_without_review(store, anna):
    await create(store, anna)
    remark = Remark(change_request_name="\x00", change_request_description="\x00")
    assert (await update(store, anna, enabled=False, remark=remark)).change_request is None


async def test_the_first_thing_that_is_wrong_is_told_in_the_order_of_the_documents(store, anna):
    await setting(store, reason="mandatory")
    with pytest.raises(RuleNotFound):
        await update(store, anna, display_name="x")
    assert await faults_of(create(store, anna, "x", source_id="nope")) == ["rule.display_name", "reason"]
    with pytest.raises(RuleNotFound):
        await create(store, anna, source_id="nope")
    await create(store, anna, reason="a good one")
    assert await faults_of(create(store, anna)) == ["reason"]


async def test_of_two_who_want_the_same_id_or_name_at_once_one_gets_it(store, elsewhere, anna):
    for number in range(10):
        ids = asyncio.gather(
            create(store, anna, f"Rule {number}", rule_id=f"{number}"),
            create(elsewhere, anna, f"Other {number}", rule_id=f"{number}"),
            return_exceptions=True,
        )
        assert sorted(type(one).__name__ for one in await ids) == ["Rule", "RuleExists"]
        names = asyncio.gather(
            *(create(one, anna, f"Name {number}", rule_id=None) for one in (store, elsewhere)), return_exceptions=True
        )
        assert sorted(type(one).__name__ for one in await names) == ["Rule", "RuleNameTaken"]


async def test_of_two_who_change_the_version_that_they_saw_one_is_told(store, elsewhere, anna):
    rule = await create(store, anna)
    for number in range(10):
        both = asyncio.gather(
            *(update(one, anna, short_description=f"{number} {one}", etag=rule.etag) for one in (store, elsewhere)),
            return_exceptions=True,
        )
        assert sorted(type(one).__name__ for one in await both) == ["Revision", "RuleChangedMeanwhile"]
        rule = await get(store, anna)
