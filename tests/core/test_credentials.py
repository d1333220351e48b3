"""Credentials: what may be made, who manages which, and when one is good."""

import hashlib
from datetime import timedelta

import pytest
from uuid_utils import uuid7

from server.core import credentials, organizations
from server.core.caller import Caller, Role
from server.core.credentials import KEY_ROLES, NewKey, NewToken, by_digest, role_of
from server.core.errors import CredentialNotFound, CredentialTaken, InvalidFields, OrganizationNotFound

OPERATOR = Caller("c", Role.OPERATOR, None, "", "")
HOUR = 3600
FAR = 4_000_000_000_000_000


async def admin_of(store, name) -> Caller:
    organization = await store.write(organizations.create, name=name)
    return Caller("c", Role.ADMIN, organization.id, name, "")


async def new_key(store, caller, kind=Role.WEB_API, *, organization="", expire_time=FAR, **more):
    wanted = NewKey(organization=organization, kind=kind, **more)
    credential_id = str(uuid7())
    digest = hashlib.sha256(credential_id.encode()).digest()
    credential = await store.write(
        credentials.create_key,
        caller=caller,
        wanted=wanted,
        credential_id=credential_id,
        digest=digest,
        expire_time=expire_time,
    )
    return credential, digest


async def new_token(store, caller, kind=Role.TOKEN_WRITE, *, organization="", **more):
    token = credentials.make_token()
    wanted = NewToken(organization=organization, kind=kind, **more)
    digest = credentials.token_digest(token)
    credential = await store.write(credentials.create_token, caller=caller, wanted=wanted, digest=digest)
    return credential, digest


def fields_of(raised) -> list[str]:
    return sorted(fault.field for fault in raised.value.faults)


async def test_a_key_names_its_organization_and_user(store):
    acme = await admin_of(store, "acme")
    credential, digest = await new_key(store, acme, Role.UPLOAD_USER, user_id="u 7", display_name="Seven")
    found = await store.read(by_digest, digest=digest, token=False)
    assert found.digest == digest
    assert found.caller == Caller(credential.id, Role.UPLOAD_USER, acme.organization_id, "acme", "u 7", "Seven")
    assert (credential.organization, credential.display_name, credential.is_token) == ("acme", "Seven", False)


async def test_a_token_is_no_key_and_a_key_no_token(store):
    acme = await admin_of(store, "acme")
    _, key = await new_key(store, acme)
    _, token = await new_token(store, acme)
    assert await store.read(by_digest, digest=key, token=True) is None
    assert await store.read(by_digest, digest=token, token=False) is None
    assert await store.read(by_digest, digest=token, token=True) is not None


async def test_an_unknown_digest_is_nobody_s(store):
    assert await store.read(by_digest, digest=b"\0" * 32, token=False) is None


@pytest.mark.parametrize("type_", ["key", "token"])
async def test_a_revoked_credential_is_nobody_s_from_the_next_call_on(store, type_):
    acme = await admin_of(store, "acme")
    credential, digest = await (new_key if type_ == "key" else new_token)(store, acme)
    assert await store.read(by_digest, digest=digest, token=type_ == "token")
    revoked = await store.write(credentials.revoke, caller=acme, credential_id=credential.id)
    assert await store.read(by_digest, digest=digest, token=type_ == "token") is None
    assert revoked.revoke_time >= credential.create_time


async def test_revoking_again_changes_nothing(store):
    acme = await admin_of(store, "acme")
    credential, _ = await new_key(store, acme)
    first = await store.write(credentials.revoke, caller=acme, credential_id=credential.id)
    assert await store.write(credentials.revoke, caller=acme, credential_id=credential.id) == first


async def test_a_credential_is_nobody_s_once_it_has_expired(store):
    acme = await admin_of(store, "acme")
    _, key = await new_key(store, acme, expire_time=1)
    assert await store.read(by_digest, digest=key, token=False) is None
    credential, token = await new_token(store, acme, valid_seconds=HOUR)
    assert credential.expire_time == credential.create_time + HOUR * 1_000_000

    async def at(tx, *, now):
        tx.now = now
        return await by_digest(tx, digest=token, token=True)

    assert await store.read(at, now=credential.expire_time - 1)
    assert await store.read(at, now=credential.expire_time) is None


async def test_an_admin_makes_no_credential_of_the_house(store):
    acme = await admin_of(store, "acme")
    for kind in (Role.WORKER, Role.OPERATOR):
        with pytest.raises(InvalidFields) as raised:
            await new_key(store, acme, kind)
        assert fields_of(raised) == ["kind"]
    own, _ = await new_token(store, acme, Role.TOKEN_ADMIN)
    assert own.organization == "acme"


async def test_an_admin_makes_none_of_another_organization(store):
    acme = await admin_of(store, "acme")
    await admin_of(store, "other")
    for make in (new_key, new_token):
        for name in ("other", "nobody"):
            with pytest.raises(OrganizationNotFound):
                await make(store, acme, organization=name)
        own, _ = await make(store, acme, organization="acme")
        assert own.organization == "acme"


async def test_an_operator_makes_those_of_everybody(store):
    await admin_of(store, "acme")
    key, _ = await new_key(store, OPERATOR, Role.ADMIN, organization="acme")
    worker, digest = await new_key(store, OPERATOR, Role.WORKER)
    assert (key.organization, worker.organization) == ("acme", "")
    found = await store.read(by_digest, digest=digest, token=False)
    assert found.caller == Caller(worker.id, Role.WORKER, None, "", "")


@pytest.mark.parametrize(
    ("kind", "role"), [(Role.TOKEN_WRITE, Role.WORKER), (Role.TOKEN_ADMIN, Role.OPERATOR), (Role.TOKEN_READ, None)]
)
async def test_a_token_of_the_house_works_or_operates(store, kind, role):
    assert role_of(kind, house=True) is role
    if role is None:
        with pytest.raises(InvalidFields) as raised:
            await new_token(store, OPERATOR, kind)
        assert fields_of(raised) == ["access"]
    else:
        _, digest = await new_token(store, OPERATOR, kind)
        assert (await store.read(by_digest, digest=digest, token=True)).caller.role is role


async def test_the_house_has_no_key_of_an_organization_s_kind(store):
    for kind in KEY_ROLES - {Role.WORKER, Role.OPERATOR}:
        with pytest.raises(InvalidFields) as raised:
            await new_key(store, OPERATOR, kind, user_id="u" if kind is Role.UPLOAD_USER else "")
        assert fields_of(raised) == ["kind"]


@pytest.mark.parametrize(
    ("wanted", "fields"),
    [
        ({"kind": None}, ["kind"]),
        ({"kind": Role.TOKEN_ADMIN}, ["kind"]),
        ({"kind": Role.UPLOAD_USER}, ["user"]),
        ({"kind": Role.UPLOAD_USER, "user_id": "x" * 256}, ["user"]),
        ({"kind": Role.UPLOAD_USER, "user_id": "a\nb"}, ["user"]),
        ({"kind": Role.WEB_API, "user_id": "u"}, ["user"]),
        ({"kind": Role.WEB_API, "display_name": "x" * 101}, ["display_name"]),
        ({"kind": Role.WEB_API, "display_name": "a\x1bb"}, ["display_name"]),
        ({"kind": Role.WEB_API, "display_name": " \u3000"}, ["display_name"]),
        ({"kind": Role.WEB_API, "valid_seconds": 0}, ["valid_period"]),
        ({"kind": Role.WEB_API, "valid_seconds": -5}, ["valid_period"]),
        ({"kind": Role.WEB_API, "valid_seconds": 3650 * 86_400 + 1}, ["valid_period"]),
        (
            {"kind": Role.WORKER, "user_id": "u", "display_name": "\n", "valid_seconds": 0.5},
            ["display_name", "kind", "user", "valid_period"],
        ),
    ],
)
async def test_everything_that_is_wrong_with_a_key_is_told_at_once(store, wanted, fields):
    with pytest.raises(InvalidFields) as raised:
        await new_key(store, await admin_of(store, "acme"), **wanted)
    assert fields_of(raised) == fields


@pytest.mark.parametrize(
    ("wanted", "fields"),
    [
        ({"kind": None}, ["access"]),
        ({"kind": Role.ADMIN}, ["access"]),
        ({"kind": Role.TOKEN_WRITE, "display_name": " "}, ["display_name"]),
        ({"kind": Role.RUDDER_WRITE, "api": "rudder", "display_name": " "}, ["display_name"]),
        ({"kind": Role.RUDDER_WRITE, "api": "rudder"}, ["display_name"]),
        ({"kind": None, "display_name": "x" * 101, "valid_seconds": 1e15}, ["access", "display_name", "valid_period"]),
    ],
)
async def test_everything_that_is_wrong_with_a_token_is_told_at_once(store, wanted, fields):
    with pytest.raises(InvalidFields) as raised:
        await new_token(store, await admin_of(store, "acme"), **wanted)
    assert fields_of(raised) == fields


def test_a_password_has_at_least_four_characters():
    assert credentials.password_faults("äöüß") == []
    for bad in ("", "abc", "x" * 1001, "abcd\0"):
        [fault] = credentials.password_faults(bad)
        assert fault.field == "password"


def test_made_tokens_are_recognisable_and_never_alike():
    made = {credentials.make_token() for _ in range(1000)}
    assert len(made) == 1000
    assert all(token.startswith("th_") and len(token) == 35 and token[3:].isalnum() for token in made)


@pytest.mark.parametrize(
    "token", ["", "x" * 15, "x" * 257, "blank in the middle", "umlaut-ümlaut-umlaut", "a" * 16 + "\n"]
)
def test_a_chosen_token_that_is_too_short_or_cannot_be_sent_is_refused(token):
    with pytest.raises(InvalidFields):
        credentials.token_digest(token)


async def test_a_token_that_is_in_use_is_refused_whoever_has_it(store):
    acme, other = await admin_of(store, "acme"), await admin_of(store, "other")
    credential, digest = await new_token(store, acme)
    await store.write(credentials.revoke, caller=acme, credential_id=credential.id)
    with pytest.raises(CredentialTaken):
        await store.write(
            credentials.create_token,
            caller=other,
            wanted=NewToken(organization="", kind=Role.TOKEN_READ),
            digest=digest,
        )


async def test_another_organization_s_credential_answers_as_an_unknown_one(store):
    acme, other = await admin_of(store, "acme"), await admin_of(store, "other")
    foreign, digest = await new_key(store, other)
    house, _ = await new_key(store, OPERATOR, Role.WORKER)
    for verb in (store.read, credentials.get), (store.write, credentials.revoke):
        for unseen in (foreign.id, house.id, str(uuid7()), "\ud800", ""):
            with pytest.raises(CredentialNotFound):
                await verb[0](verb[1], caller=acme, credential_id=unseen)
    assert await store.read(by_digest, digest=digest, token=False)
    assert await store.read(credentials.get, caller=OPERATOR, credential_id=foreign.id) == foreign


async def every_id(store, caller, organization, size) -> list[str]:
    ids, token = [], ""
    while True:
        page = await store.read(
            credentials.page, caller=caller, organization=organization, page_size=size, page_token=token
        )
        ids += [each.id for each in page.items]
        token = page.next_page_token
        if not token:
            return ids


async def test_pages_hold_every_credential_of_their_owner_once_newest_first(store):
    acme, other = await admin_of(store, "acme"), await admin_of(store, "other")
    own = [(await make(store, acme))[0].id for make in (new_key, new_token) * 3]
    foreign = [(await new_key(store, other))[0].id]
    house = [(await new_key(store, OPERATOR, Role.WORKER))[0].id, (await new_token(store, OPERATOR))[0].id]
    for size in (1, 2, 3, 6, 100):
        assert await every_id(store, acme, "", size) == own[::-1]
        assert await every_id(store, OPERATOR, "acme", size) == own[::-1]
        assert await every_id(store, OPERATOR, "", size) == house[::-1]
    assert await every_id(store, OPERATOR, "other", 1) == foreign
    all_ = (await store.read(credentials.page_of_all, page_token="")).items
    assert [each.id for each in all_] == [*house[::-1], *foreign, *own[::-1]]
    with pytest.raises(OrganizationNotFound):
        await every_id(store, acme, "other", 1)


async def test_keys_are_listed_live_ones_first_and_newest_first_without_tokens(store):
    acme, other = await admin_of(store, "acme"), await admin_of(store, "other")
    keys = [(await new_key(store, acme))[0].id for _ in range(4)]
    await new_token(store, acme)
    await new_key(store, other)
    for revoked in (keys[1], keys[3]):
        await store.write(credentials.revoke, caller=acme, credential_id=revoked)
    listed = await store.scan(credentials.keys_of, organization_id=acme.organization_id)
    assert [each.id for each in listed] == [keys[2], keys[0], keys[3], keys[1]]


async def test_regenerating_keeps_the_credential_and_changes_its_secret_at_once(store):
    acme = await admin_of(store, "acme")
    credential, old = await new_token(store, acme, display_name="ci")
    new = credentials.token_digest(credentials.make_token())
    same = await store.write(credentials.regenerate, caller=acme, credential_id=credential.id, digest=new)
    assert same == credential
    assert await store.read(by_digest, digest=old, token=True) is None
    assert (await store.read(by_digest, digest=new, token=True)).caller.credential_id == credential.id


async def test_only_a_good_token_is_regenerated(store):
    acme, other = await admin_of(store, "acme"), await admin_of(store, "other")
    key, _ = await new_key(store, acme)
    revoked, _ = await new_token(store, acme)
    await store.write(credentials.revoke, caller=acme, credential_id=revoked.id)
    expiring, _ = await new_token(store, acme, valid_seconds=1)
    foreign, digest = await new_token(store, other)
    new = hashlib.sha256(b"new").digest()

    async def later(tx, **asked):
        tx.now += int(timedelta(hours=1).total_seconds() * 1_000_000)
        return await credentials.regenerate(tx, **asked)

    for verb, credential, refusal in (
        (credentials.regenerate, key, InvalidFields),
        (credentials.regenerate, revoked, InvalidFields),
        (later, expiring, InvalidFields),
        (credentials.regenerate, foreign, CredentialNotFound),
    ):
        with pytest.raises(refusal):
            await store.write(verb, caller=acme, credential_id=credential.id, digest=new)
    with pytest.raises(CredentialTaken):
        await store.write(credentials.regenerate, caller=other, credential_id=foreign.id, digest=digest)
