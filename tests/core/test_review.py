"""Whatever people do to rules under review, in whatever order: nothing gets around the review."""

import asyncio
from itertools import count
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from server.core.change_content import LAW, ChangeState
from server.core.errors import Refusal
from server.store.opening import open_store
from tests.core import reviewed

EXAMPLES, STEPS = 40, 30
IDS, NAMES, TEXTS = map(st.sampled_from, (["r", "s"], ["Rule one", "Rule two", "Rule three"], ["a", "b"]))
STATES = st.sampled_from([ChangeState.PENDING_DEPLOYMENT, ChangeState.DEPLOYED, ChangeState.CANCELLED])
BACK = st.integers(0, 3)


class Known(NamedTuple):
    """A rule as it must be."""

    version: int  # another one after each change
    display_name: str
    short_description: str
    enabled: bool


class Asked(NamedTuple):
    """A change request as it must be."""

    rule_id: str
    before: Known
    after: Known | None
    state: ChangeState


class Reviewed(RuleBasedStateMachine):
    """What people do to an organization's rules, and what must come of it."""

    def __init__(self, store: Any, run: Any, name: str) -> None:
        super().__init__()
        self.store, self.run, self.name = store, run, name
        self.caller = run(reviewed.writer(store, name, workflow=True))
        self.workflow = True
        self.rules: dict[str, Known] = {}
        self.asked: list[Asked] = []
        self.versions = count(1)
        self.events = 0
        for rule_id, rule_name in (("r", "Rule one"), ("s", "Rule two")):
            self.create(rule_id, rule_name, None)

    @rule(rule_id=IDS, name=NAMES, text=st.none() | TEXTS)
    def create(self, rule_id, name, text):
        call = reviewed.create(self.store, self.caller, name, rule_id=rule_id, short_description=text, enabled=None)
        if rule_id in self.rules:
            self.expect("RuleExists", call)
        elif self.is_taken(rule_id, name):
            self.expect("RuleNameTaken", call)
        else:
            self.expect("", call)
            self.put(rule_id, Known(0, name, text or "", enabled=not self.workflow or text is None))

    @rule(rule_id=IDS, name=st.none() | NAMES, text=st.none() | TEXTS, enabled=st.none() | st.booleans())
    def update(self, rule_id, name, text, enabled):
        given = {"display_name": name, "short_description": text, "enabled": enabled}
        call = reviewed.update(self.store, self.caller, rule_id, **given)
        before = self.rules.get(rule_id)
        self.revise(rule_id, call, before and before._replace(**{k: v for k, v in given.items() if v is not None}))

    @rule(rule_id=IDS)
    def delete(self, rule_id):
        self.revise(rule_id, reviewed.delete(self.store, self.caller, rule_id), None)

    @rule(back=BACK, state=STATES)
    def step(self, back, state):
        number = len(self.asked) + 1 - back  # One of the last three, or one that there is not.
        if state is ChangeState.CANCELLED:
            call = reviewed.decline(self.store, self.caller, number)
        else:
            call = reviewed.accept(self.store, self.caller, number, state)
        asked = self.asked[number - 1] if 0 < number <= len(self.asked) else None
        if not self.workflow:
            self.expect("WorkflowDisabled", call)
        elif asked is None:
            self.expect("ChangeRequestNotFound", call)
        elif state not in LAW[asked.state]:
            self.expect("ChangeRequestStateForbids", call)
        elif state is not ChangeState.CANCELLED and self.rules.get(asked.rule_id) != asked.before:
            self.expect("ChangeRequestDiverged", call)
        elif state is ChangeState.DEPLOYED and asked.after and self.is_taken(asked.rule_id, asked.after.display_name):
            self.expect("RuleNameTaken", call)
        else:
            self.expect("", call)
            self.asked[number - 1] = asked._replace(state=state)
            self.events += 1
            if state is ChangeState.DEPLOYED:
                self.put(asked.rule_id, asked.after)

    @rule(workflow=st.sampled_from([True, True, True, False]))
    def switch(self, workflow):
        self.run(reviewed.setting(self.store, self.name, workflow=workflow))
        self.workflow = workflow

    @invariant()
    def rules_are_as_they_must_be(self):
        found = self.run(rules_of(self.store, self.caller))
        told = {one.id: (one.display_name, one.short_description, one.enabled) for one in found}
        assert told == {rule_id: known[1:] for rule_id, known in self.rules.items()}

    @invariant()
    def requests_are_as_they_must_be(self):
        if not self.workflow:
            return
        found = self.run(reviewed.requests(self.store, self.caller, ChangeState))
        assert [(one.id, one.state, one.is_acceptable) for one in found] == [
            (number, asked.state, bool(LAW[asked.state]) and self.rules.get(asked.rule_id) == asked.before)
            for number, asked in enumerate(self.asked, 1)
        ]

    @invariant()
    def every_change_has_one_event(self):
        assert len(self.run(reviewed.log(self.store, self.caller))) == self.events

    def revise(self, rule_id, call, after):
        before = self.rules.get(rule_id)
        if before is None:
            self.expect("RuleNotFound", call)
        elif after and self.is_taken(rule_id, after.display_name):
            self.expect("RuleNameTaken", call)
        elif after == before:
            self.expect("", call)
        else:
            self.expect("", call)
            if self.workflow:
                self.asked.append(Asked(rule_id, before, after, ChangeState.PENDING_VALIDATION))
                self.events += 1
            else:
                self.put(rule_id, after)

    def expect(self, refusal, call):
        told = ""
        try:
            self.run(call)
        except Refusal as error:
            told = type(error).__name__
        assert told == refusal

    def is_taken(self, rule_id, name):
        return any(known.display_name == name for other, known in self.rules.items() if other != rule_id)

    def put(self, rule_id, known):
        self.events += 1
        if known:
            self.rules[rule_id] = known._replace(version=next(self.versions))
        else:
            del self.rules[rule_id]


async def rules_of(store, caller):
    return (await store.read(reviewed.rules.page, caller=caller, page_size=0, page_token="", quickly=False)).items


@pytest.fixture
def run():
    with asyncio.Runner() as runner:
        yield runner.run


def test_no_order_of_changes_gets_around_the_review(address, run, tmp_path):
    store = run(open_store(address, tmp_path))
    numbers = count(1)
    try:
        run_state_machine_as_test(
            lambda: Reviewed(store, run, f"acme {next(numbers)}"),
            settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize=True),
        )
    finally:
        run(store.close())
