"""Credentials: keys and tokens. An admin manages those of its organization, the house those of everybody."""

import hashlib
import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import orjson
from uuid_utils import uuid7

from server.core import allowances, events
from server.core.caller import HOUSE_ROLES, TOKEN_ROLES, TOKENS, Caller, Role
from server.core.errors import CredentialNotFound, CredentialTaken, Fault, InvalidFields, invalid
from server.core.organizations import Organization, is_one_line, owner
from server.core.organizations import establish as establish_organization
from server.core.pages import MAX_PAGE, Page, read_page
from server.core.uploads import MAX_USER_ID
from server.store import credentials as store
from server.store.engine import Tx

KEY_ROLES = frozenset(Role) - TOKEN_ROLES - {Role.STRANGER}
DAY_SECONDS = 86_400
KEY_VALID_SECONDS = 825 * DAY_SECONDS  # Unless a request says otherwise.
MAX_VALID_SECONDS = 3650 * DAY_SECONDS
MAX_LISTED = 10_000
MAX_NAME_LENGTH = 100
MIN_PASSWORD, MAX_PASSWORD = 4, 1000  # characters
TOKEN_PREFIX = "th_"  # noqa: S105 - lets people, and scanners of published code, see what it is.
TOKEN_ALPHABET = string.ascii_letters + string.digits
TOKEN_LENGTH = 32  # characters after the prefix: 190 bits
MONARC_TOKEN_BYTES = 64  # 86 characters
OWN_TOKEN = "own token"  # noqa: S105 - what the token that comes with an organization is called.
_NO_ACCESS = {
    "asapi": Fault("retrieval", "must be asstore or aschannel"),
    "rudder": Fault("access", "must be read or write"),
}
_GIVEN_TOKEN = re.compile(r"[!-~]{16,256}")


class Good(NamedTuple):
    """A credential that is neither revoked nor expired."""

    digest: bytes
    caller: Caller


@dataclass(frozen=True, kw_only=True)
class Credential:
    """A key or a token, without its secret. Times are microseconds since 1970."""

    id: str
    kind: Role
    organization: str  # its name; empty: the house
    display_name: str
    user_id: str  # upload_user only, else empty
    allowed: tuple[str, ...]  # tokens of asapi only; see core/allowances.py
    create_time: int
    expire_time: int | None
    revoke_time: int | None

    @property
    def is_token(self) -> bool:
        """Whether it is a token, not a key."""
        return self.kind in TOKEN_ROLES


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """What is asked for in a new key."""

    organization: str  # a name; empty: the caller's own, or the house
    kind: Role | None  # None: the request names none that there is
    user_id: str = ""
    display_name: str = ""
    valid_seconds: float = KEY_VALID_SECONDS

    def faults(self, caller: Caller) -> list[Fault]:
        """Return what is wrong with it, as fields of CreateKeyRequest."""
        faults = _common_faults(self.display_name, self.valid_seconds)
        house = _is_of_house(caller, self.organization)
        if self.kind is None or self.kind in TOKEN_ROLES:
            faults.append(Fault("kind", f"must be one of {', '.join(sorted(KEY_ROLES))}"))
        elif role_of(self.kind, house=house) is None:
            faults.append(Fault("kind", "worker and operator belong to the house, the others to an organization"))
        if self.kind is not Role.UPLOAD_USER:
            if self.user_id:
                faults.append(Fault("user", "only a key of kind upload_user has one"))
        elif not 1 <= len(self.user_id) <= MAX_USER_ID or not is_one_line(self.user_id):
            faults.append(Fault("user", f"must be 1 to {MAX_USER_ID} characters, no control characters"))
        return faults


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """What is asked for in a new token."""

    organization: str  # a name; empty: the caller's own, or the house
    kind: Role | None  # None: the request names none that there is
    api: str = "grpc"  # which API it is for, if there is no kind
    display_name: str = ""
    valid_seconds: float | None = None  # None: for ever
    allowed: tuple[str, ...] = ()  # asapi only; see core/allowances.py

    def faults(self, caller: Caller) -> list[Fault]:
        """Return what is wrong with it, as fields of CreateTokenRequest."""
        faults = _common_faults(self.display_name, self.valid_seconds)
        if self.kind not in TOKEN_ROLES:
            faults.append(_NO_ACCESS.get(self.api, Fault("access", "must be read, write or admin")))
        elif self.kind in TOKENS["asapi"].values():
            faults += allowances.faults_of(self.allowed)
            if _is_of_house(caller, self.organization):
                faults.append(Fault("organization", "a token of asapi belongs to an organization"))
        elif self.allowed:
            faults.append(Fault("allow", "only tokens of asapi have it"))
        elif self.kind in TOKENS["rudder"].values():
            if not self.display_name:
                faults.append(Fault("display_name", "is required: events name who did what by it"))
            if _is_of_house(caller, self.organization):
                faults.append(Fault("organization", "a token of rudder belongs to an organization"))
        elif role_of(self.kind, house=_is_of_house(caller, self.organization)) is None:
            faults.append(Fault("access", "a token of the house has write (to do tasks) or admin (to operate it)"))
        return faults


def password_faults(password: str) -> list[Fault]:
    """Return what is wrong with a PKCS12 file's password. It is checked, used and forgotten."""
    if MIN_PASSWORD <= len(password) <= MAX_PASSWORD and "\0" not in password:
        return []
    return [Fault("password", f"must be {MIN_PASSWORD} to {MAX_PASSWORD} characters")]


def make_token(api: str = "grpc") -> str:
    """Return a new random token, in the form that its API documents."""
    if api == "monarc":
        return secrets.token_urlsafe(MONARC_TOKEN_BYTES)
    token = "".join(secrets.choice(TOKEN_ALPHABET) for _ in range(TOKEN_LENGTH))
    return token if api == "rudder" else TOKEN_PREFIX + token


def token_digest(token: str) -> bytes:
    """Return what the house keeps of a token. Raises InvalidFields for one that a person chose too short."""
    if not _GIVEN_TOKEN.fullmatch(token):
        raise invalid("token", "must be 16 to 256 printable ASCII characters without blanks")
    return hashlib.sha256(token.encode()).digest()


def role_of(kind: Role, *, house: bool) -> Role | None:
    """Return what a credential of this kind may act as; None if the house, or an organization, cannot have that kind.

    A typed token of the house acts as a worker if it may write, and as an operator if it has admin access; one of the
    monarc API is good for every organization.
    """
    if not house:
        return None if kind in HOUSE_ROLES else kind
    if kind in HOUSE_ROLES or kind in TOKENS["monarc"].values():
        return kind
    return {Role.TOKEN_WRITE: Role.WORKER, Role.TOKEN_ADMIN: Role.OPERATOR}.get(kind)


async def by_digest(tx: Tx, *, digest: bytes, token: bool, api: str = "grpc") -> Good | None:
    """Return whose credential this is; None if it is not good, or of the other type, or a token of another API."""
    found = await store.good_by_digest(tx, digest)
    if found is None or Role(found.kind) not in (TOKENS[api].values() if token else KEY_ROLES):
        return None
    role = role_of(Role(found.kind), house=found.organization_id is None)
    if role is None:
        return None
    organization, allowed = found.organization or "", _allowed(found.allowed)
    caller = Caller(found.id, role, found.organization_id, organization, found.user_id, found.display_name, allowed)
    return Good(found.digest, caller)


async def still_good(tx: Tx, *, ids: Sequence[str]) -> set[tuple[str, bytes]]:
    """Return those of these credentials that are good, each with the digest by which it is."""
    return {(one.id, one.digest) for one in await store.good_of(tx, ids)}


async def create_key(
    tx: Tx, *, caller: Caller, wanted: NewKey, credential_id: str, digest: bytes, expire_time: int
) -> Credential:
    """Register a certificate that was just issued. Raises InvalidFields, OrganizationNotFound."""
    refuse_if(wanted.faults(caller))
    return await _create(
        tx,
        caller=caller,
        wanted=wanted,
        credential_id=credential_id,
        digest=digest,
        user_id=wanted.user_id,
        expire_time=expire_time,
    )


async def create_token(tx: Tx, *, caller: Caller, wanted: NewToken, digest: bytes) -> Credential:
    """Register a token. Raises InvalidFields, OrganizationNotFound, CredentialTaken."""
    refuse_if(wanted.faults(caller))
    valid = wanted.valid_seconds
    return await _create(
        tx,
        caller=caller,
        wanted=wanted,
        credential_id=str(uuid7()),
        digest=digest,
        user_id="",
        allowed=wanted.allowed,
        expire_time=None if valid is None else tx.now + round(valid * 1_000_000),
    )


async def found_organization(tx: Tx, *, caller: Caller, name: str, digest: bytes) -> Organization:
    """Create an organization and its own token, which writes stats.

    Raises InvalidFields, OrganizationExists, CredentialTaken.
    """
    created = await establish_organization(tx, caller=caller, name=name)
    await _refuse_taken(tx, digest)
    credential_id = str(uuid7())
    await store.add(
        tx,
        credential_id=credential_id,
        organization=created.id,
        digest=digest,
        kind=Role.MONARC_WRITE.value,
        display_name=OWN_TOKEN,
        user_id="",
        expire_time=None,
    )
    founder = replace(caller, organization_id=None, organization="")  # It may be of another organization.
    await _tell(tx, founder, "credential.created", await get(tx, caller=founder, credential_id=credential_id))
    return created


async def get(tx: Tx, *, caller: Caller, credential_id: str) -> Credential:
    """Return a credential that the caller manages. Raises CredentialNotFound."""
    known = is_one_line(credential_id)  # Half a surrogate pair, from a command line, cannot be looked up.
    found = await store.by_id(tx, credential_id, organization=caller.organization_id) if known else None
    if found is None:
        raise CredentialNotFound(credential_id)
    return _credential(found)


async def page(tx: Tx, *, caller: Caller, organization: str, page_size: int, page_token: str) -> Page[Credential]:
    """Return credentials of an organization, or of the house, newest first.

    Raises InvalidFields, OrganizationNotFound.
    """
    asked = read_page(page_size, page_token)
    whose = await owner(tx, caller=caller, name=organization)
    found = await store.page_of(tx, whose and whose.id, before=asked.after, most=asked.most)
    return asked.of(list(map(_credential, found)), _id_of)


async def page_of_all(tx: Tx, *, page_token: str) -> Page[Credential]:
    """Return everybody's credentials, newest first: for the command line alone. Raises InvalidFields."""
    asked = read_page(MAX_PAGE, page_token)
    found = await store.page_of_all(tx, before=asked.after, most=asked.most)
    return asked.of(list(map(_credential, found)), _id_of)


async def keys_of(tx: Tx, *, organization_id: int) -> list[Credential]:
    """Return an organization's keys: those that are not revoked, then those that are, each newest first.

    It may have very many, one for each of its users: scan for it, and see at most MAX_LISTED credentials.
    """
    found = await store.live_first(tx, organization=organization_id, most=MAX_LISTED)
    return [each for each in map(_credential, found) if not each.is_token]


async def revoke(tx: Tx, *, caller: Caller, credential_id: str) -> Credential:
    """Refuse a credential from now on, for ever; one that is revoked stays as it is. Raises CredentialNotFound."""
    found = await get(tx, caller=caller, credential_id=credential_id)
    if found.revoke_time is not None:
        return found
    await store.revoke(tx, credential_id)
    await _tell(tx, caller, "credential.revoked", found)
    return await get(tx, caller=caller, credential_id=credential_id)


async def regenerate(tx: Tx, *, caller: Caller, credential_id: str, digest: bytes) -> Credential:
    """Give a token another secret; the old one is refused from now on. Raises CredentialNotFound, InvalidFields."""
    found = await get(tx, caller=caller, credential_id=credential_id)
    if not found.is_token:
        raise invalid("credential_id", "is a key: issue a new one and revoke this one")
    if found.revoke_time is not None:
        raise invalid("credential_id", "is revoked, for ever: create a new token")
    if found.expire_time is not None and found.expire_time <= tx.now:
        raise invalid("credential_id", "has expired: create a new token")
    await _refuse_taken(tx, digest)
    await store.replace_digest(tx, credential_id, digest)
    await _tell(tx, caller, "credential.regenerated", found)
    return found


def refuse_if(faults: list[Fault]) -> None:
    """Raise InvalidFields with all of these, if there are any."""
    if faults:
        raise InvalidFields(tuple(faults))


async def _create(
    tx: Tx,
    *,
    caller: Caller,
    wanted: NewKey | NewToken,
    credential_id: str,
    digest: bytes,
    user_id: str,
    expire_time: int | None,
    allowed: tuple[str, ...] = (),
) -> Credential:
    assert wanted.kind is not None  # noqa: S101 - its faults were looked for.
    whose = await owner(tx, caller=caller, name=wanted.organization)
    await _refuse_taken(tx, digest)
    await store.add(
        tx,
        credential_id=credential_id,
        organization=whose and whose.id,
        digest=digest,
        kind=wanted.kind.value,
        display_name=wanted.display_name,
        user_id=user_id,
        expire_time=expire_time,
        allowed=orjson.dumps(allowed).decode() if allowed else None,
    )
    created = await get(tx, caller=caller, credential_id=credential_id)
    await _tell(tx, caller, "credential.created", created)
    return created


async def _tell(tx: Tx, caller: Caller, action: str, credential: Credential) -> None:
    """Leave an event in its organization's log, or the house's. A user's own key is not called by its name there."""
    whose = await owner(tx, caller=caller, name=credential.organization)
    after: dict[str, object] | None = None
    if action == "credential.created":
        after = {"kind": credential.kind.value, "expire_time": credential.expire_time}
        if credential.kind is not Role.UPLOAD_USER:
            after["display_name"] = credential.display_name
        if credential.allowed:
            after["allowed"] = list(credential.allowed)
    about = events.Object("credential", credential.id)
    await events.record(tx, organization_id=whose and whose.id, actor=caller, action=action, object=about, after=after)


async def _refuse_taken(tx: Tx, digest: bytes) -> None:
    if await store.is_taken(tx, digest):
        raise CredentialTaken


def _is_of_house(caller: Caller, organization: str) -> bool:
    return caller.organization_id is None and not organization


def _common_faults(display_name: str, valid_seconds: float | None) -> list[Fault]:
    faults = []
    if len(display_name) > MAX_NAME_LENGTH or not is_one_line(display_name):
        faults.append(Fault("display_name", f"must be at most {MAX_NAME_LENGTH} characters, no control characters"))
    elif display_name.isspace():
        faults.append(Fault("display_name", "must not be blank"))
    if valid_seconds is not None and not 1 <= valid_seconds <= MAX_VALID_SECONDS:
        days = MAX_VALID_SECONDS // DAY_SECONDS
        faults.append(Fault("valid_period", f"must be from 1 second to {days} days"))
    return faults


def _credential(stored: store.Stored) -> Credential:
    values = stored._asdict() | {
        "kind": Role(stored.kind),
        "organization": stored.organization or "",
        "allowed": _allowed(stored.allowed),
    }
    return Credential(**values)


def _allowed(stored: str | None) -> tuple[str, ...]:
    return tuple(orjson.loads(stored)) if stored else ()


def _id_of(credential: Credential) -> str:
    return credential.id
