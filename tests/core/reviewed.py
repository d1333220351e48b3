"""What tests of rules and change requests begin with."""

from server.core import changes, events, organizations, rules
from server.core.caller import Caller, Role
from server.core.change_content import OPEN, ChangeState
from server.core.organizations import ReasonMode, Settings
from server.core.rule_content import Given
from tests.core.scenes import HOUSE


async def writer(store, name="acme", **settings) -> Caller:
    """Create an organization with these settings and return somebody who may change its rules."""
    created = await store.write(organizations.create, name=name)
    await setting(store, created.name, **settings)
    return Caller("anna", Role.TOKEN_WRITE, created.id, name, "", "Anna")


async def setting(store, name="acme", *, workflow=None, reason=None):
    wanted = Settings(workflow=workflow, reason_mode=reason and ReasonMode(reason))
    return await store.write(organizations.update, caller=HOUSE, name=name, settings=wanted)


async def create(store, caller, display_name="Some rule", *, rule_id="r", source_id=None, reason=None, **given):
    return await store.write_guarded(
        rules.create,
        caller=caller,
        given=Given(display_name, **given),
        rule_id=rule_id,
        source_id=source_id,
        reason=reason,
    )


async def update(store, caller, rule_id="r", *, etag="", remark=rules.NO_REMARK, **given):
    return await store.write_guarded(
        rules.update, caller=caller, rule_id=rule_id, given=Given(**given), etag=etag, remark=remark
    )


async def delete(store, caller, rule_id="r", *, etag="", remark=rules.NO_REMARK):
    return await store.write_guarded(rules.delete, caller=caller, rule_id=rule_id, etag=etag, remark=remark)


async def get(store, caller, rule_id="r"):
    return await store.read(rules.get, caller=caller, rule_id=rule_id)


async def accept(store, caller, number=1, state=ChangeState.DEPLOYED, reason=None):
    return await store.write_guarded(
        changes.accept, caller=caller, change_request_id=number, state=state, reason=reason
    )


async def decline(store, caller, number=1, reason=None):
    return await store.write_guarded(changes.decline, caller=caller, change_request_id=number, reason=reason)


async def request(store, caller, number=1):
    return await store.read(changes.get, caller=caller, change_request_id=number)


async def requests(store, caller, states=OPEN):
    return await store.read(changes.every, caller=caller, states=frozenset(states), quickly=True)


async def log(store, caller):
    """Return the organization's events about rules and change requests."""
    found = await store.read(events.page, organization_id=caller.tenant, after=0, most=1000)
    return [event for event in found if event.object.kind in ("rule", "change_request")]


def told(event):
    return event.action, event.before, event.after, event.reason


async def faults_of(call) -> list[str]:
    """Return the paths of the fields that a call is refused for."""
    try:
        await call
    except changes.InvalidFields as refusal:
        return [fault.field for fault in refusal.faults]
    raise AssertionError("it was not refused")
