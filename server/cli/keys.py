"""`taskhouse keys`: client certificates, as files for their owners."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import click
from uuid_utils import uuid7

from server.cli.credentials import OF_HOUSE, list_credentials, revoke_credential
from server.cli.house import (
    COMMAND_LINE,
    Period,
    as_item,
    house_options,
    in_house,
    json_option,
    owner_of,
    owner_options,
    print_facts,
    print_json,
    time_text,
)
from server.core import credentials, organizations
from server.core.caller import Role
from server.core.credentials import KEY_ROLES, KEY_VALID_SECONDS, Credential, NewKey
from server.core.errors import Refusal
from server.identity.authority import Authority, IssuedKey
from server.services.credentials import credential_to_proto
from server.settings import Settings
from server.store.engine import Store, StoreUnavailable

PKCS12_ENDINGS = (".pfx", ".p12")
PEM_ENDING = ".pem"
PASSWORD_LENGTH = 16  # Of generated ones: 95 bits.


@click.group()
def keys() -> None:
    """Issue, list and revoke client certificates."""


@keys.command()
@house_options
@owner_options
@click.option(
    "--kind", type=click.Choice(sorted(role.value for role in KEY_ROLES)), required=True, help="What it is for."
)
@click.option("--user", default="", help="The user whose rows it uploads; for upload_user.")
@click.option("--name", default="", help="What people call it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="PKCS12 for .pfx and .p12, key and certificate for .pem.",
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its first line is the file's password. Without it, a password is made for PKCS12, and none for PEM.",
)
@click.option("--legacy", is_flag=True, help="Encrypt PKCS12 as clients before OpenSSL 3 expect it: weak.")
@click.option("--expires", type=Period(), metavar="90d", help="How long it is good, at most 3650d; default: 825d.")
@json_option
def issue(
    settings: Settings,
    org: str | None,
    kind: str,
    user: str,
    name: str,
    out: Path,
    password_file: Path | None,
    expires: timedelta | None,
    *,
    house: bool,
    legacy: bool,
    as_json: bool,
) -> None:
    """Issue a client certificate and write it, with its private key, to FILE, which only its owner may read."""
    ending = out.suffix.lower()
    if ending not in (*PKCS12_ENDINGS, PEM_ENDING):
        raise click.UsageError("--out must end in .pfx or .p12 (PKCS12), or in .pem")
    if legacy and ending == PEM_ENDING:
        raise click.UsageError("--legacy is for PKCS12: let --out end in .pfx or .p12")
    wanted = NewKey(
        organization=owner_of(org, house=house),
        kind=Role(kind),
        user_id=user,
        display_name=name,
        valid_seconds=KEY_VALID_SECONDS if expires is None else expires.total_seconds(),
    )
    given = None if password_file is None else _first_line(password_file)
    password = _make_password() if given is None and ending in PKCS12_ENDINGS else given
    password_faults = [] if password is None else credentials.password_faults(password)
    credentials.refuse_if([*wanted.faults(COMMAND_LINE), *password_faults])

    def content(issued: IssuedKey) -> bytes:
        return issued.pem(password) if ending == PEM_ENDING else issued.pkcs12(password or "", legacy=legacy)

    async def issued_to_file(store: Store) -> Credential:
        await store.read(organizations.owner, caller=COMMAND_LINE, name=wanted.organization)
        issued, credential_id = _issue(Authority.open(settings.data), wanted)
        with _placed(out) as draft:
            _write(draft, content(issued))
            return await _register(store, wanted, issued, credential_id, draft=draft, out=out)

    credential = in_house(settings, issued_to_file)
    _print(credential, out, password if given is None else None, as_json=as_json)


@keys.command("list")
@house_options
@owner_options
@json_option
def list_(settings: Settings, org: str | None, *, house: bool, as_json: bool) -> None:
    """List keys, newest first: everybody's, an organization's, or those of the house."""
    list_credentials(
        settings,
        owner_of(org, house=house) if org or house else None,
        tokens=False,
        titles=("KIND", "USER"),
        cells=lambda key: (key.kind.value, key.user_id),
        as_json=as_json,
    )


@keys.command()
@house_options
@click.argument("credential_id", metavar="ID")
@json_option
def revoke(settings: Settings, credential_id: str, *, as_json: bool) -> None:
    """Refuse the key ID from its next call on, for ever."""
    revoke_credential(settings, credential_id, tokens=False, as_json=as_json)


def _issue(authority: Authority, wanted: NewKey) -> tuple[IssuedKey, str]:
    assert wanted.kind is not None  # noqa: S101 - its faults were looked for.
    credential_id = str(uuid7())
    issued = authority.issue_key(
        kind=wanted.kind,
        credential_id=credential_id,
        organization=wanted.organization,
        user_id=wanted.user_id,
        display_name=wanted.display_name,
        valid=timedelta(seconds=wanted.valid_seconds),
    )
    return issued, credential_id


async def _register(
    store: Store, wanted: NewKey, issued: IssuedKey, credential_id: str, *, draft: Path, out: Path
) -> Credential:
    """Make the credential good and give the file its name; if that fails, no good credential stays without a file."""
    try:
        credential = await store.write(
            credentials.create_key,
            caller=COMMAND_LINE,
            wanted=wanted,
            credential_id=credential_id,
            digest=issued.digest,
            expire_time=issued.expire_time,
        )
        draft.replace(out)  # noqa: ASYNC240 - nobody else waits for this loop.
    except BaseException:  # Also Ctrl-C, which does not say whether the write was committed.
        with suppress(Refusal, StoreUnavailable):
            await store.write(credentials.revoke, caller=COMMAND_LINE, credential_id=credential_id)
        raise
    return credential


@contextmanager
def _placed(out: Path) -> Iterator[Path]:
    """Reserve a file's name, which must be free, for the draft that is to replace it; if that fails, free it again."""
    draft = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    try:
        os.close(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError as error:
        raise click.ClickException(f"{out} exists: remove it, or give another --out") from error
    try:
        yield draft
    except BaseException:
        out.unlink(missing_ok=True)
        draft.unlink(missing_ok=True)
        raise


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _first_line(path: Path) -> str:
    try:
        return path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r").decode()
    except UnicodeDecodeError as error:
        raise click.ClickException(f"the password in {path} is not UTF-8: choose another") from error


def _make_password() -> str:
    return "".join(secrets.choice(credentials.TOKEN_ALPHABET) for _ in range(PASSWORD_LENGTH))


def _print(credential: Credential, out: Path, generated: str | None, *, as_json: bool) -> None:
    if as_json:
        item = {"credential": as_item(credential_to_proto(credential)), "file": str(out)}
        print_json([item | ({"password": generated} if generated else {})])
        return
    print_facts(
        {
            "id": credential.id,
            "organization": credential.organization or OF_HOUSE,
            "kind": credential.kind.value,
            "user": credential.user_id,
            "name": credential.display_name,
            "expires": time_text(credential.expire_time),
            "file": str(out),
            "password (shown once)": generated or "",
        }
    )
