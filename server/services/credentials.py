"""CredentialService."""

import asyncio
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from uuid_utils import uuid7

from server.core import credentials
from server.core.caller import TOKENS, Caller, Role
from server.core.credentials import KEY_VALID_SECONDS, Credential, NewKey, NewToken
from server.core.errors import Fault
from server.identity.authority import Authority, IssuedKey
from server.rpc.door import Context, current_caller
from server.services.times import timestamp
from server.store.engine import Store
from taskhouse.v1 import credentials_pb2 as pb
from taskhouse.v1 import credentials_pb2_grpc

_KINDS = {
    Role.UPLOAD_ANY: pb.KEY_KIND_UPLOAD_ANY,
    Role.UPLOAD_USER: pb.KEY_KIND_UPLOAD_USER,
    Role.ADMIN: pb.KEY_KIND_ADMIN,
    Role.TASK_RUNNER: pb.KEY_KIND_TASK_RUNNER,
    Role.WEB_API: pb.KEY_KIND_WEB_API,
    Role.WORKER: pb.KEY_KIND_WORKER,
    Role.OPERATOR: pb.KEY_KIND_OPERATOR,
}
_KEY_ROLES = {kind: role for role, kind in _KINDS.items()}
_APIS = {
    "grpc": pb.TOKEN_API_GRPC,
    "monarc": pb.TOKEN_API_MONARC,
    "asapi": pb.TOKEN_API_ASAPI,
    "rudder": pb.TOKEN_API_RUDDER,
}
_ACCESSES = {"read": pb.TOKEN_ACCESS_READ, "write": pb.TOKEN_ACCESS_WRITE, "admin": pb.TOKEN_ACCESS_ADMIN}
_RETRIEVALS = {"asstore": pb.TOKEN_RETRIEVAL_ASSTORE, "aschannel": pb.TOKEN_RETRIEVAL_ASCHANNEL}
_TOKENS = {
    role: pb.Token(api=_APIS[api], access=_ACCESSES.get(name), retrieval=_RETRIEVALS.get(name))
    for api, roles in TOKENS.items()
    for name, role in roles.items()
}
_API_NAMES = {number: name for name, number in _APIS.items()}
_ACCESS_NAMES = {number: name for name, number in _ACCESSES.items()} | {pb.TOKEN_ACCESS_UNSPECIFIED: "write"}
_RETRIEVAL_NAMES = {number: name for name, number in _RETRIEVALS.items()}


class CredentialServicer(credentials_pb2_grpc.CredentialServiceServicer):
    """Serves credentials to operators, and to the admins of their organizations."""

    def __init__(self, store: Store, authority: Authority) -> None:
        self._store = store
        self._authority = authority

    async def CreateKey(self, request: pb.CreateKeyRequest, context: Context) -> pb.CreateKeyResponse:  # noqa: ARG002, N802 - as generated.
        """Issue a certificate and register it."""
        caller = current_caller()
        wanted = NewKey(
            organization=request.organization,
            kind=_KEY_ROLES.get(request.kind),
            user_id=request.user,
            display_name=request.display_name,
            valid_seconds=_seconds(request.valid_period) if request.HasField("valid_period") else KEY_VALID_SECONDS,
        )
        credentials.refuse_if([*wanted.faults(caller), *credentials.password_faults(request.password)])
        credential_id = str(uuid7())
        issued, bundle = await asyncio.to_thread(self._issue, caller, wanted, credential_id, request)
        credential = await self._store.write(
            credentials.create_key,
            caller=caller,
            wanted=wanted,
            credential_id=credential_id,
            digest=issued.digest,
            expire_time=issued.expire_time,
        )
        return pb.CreateKeyResponse(credential=credential_to_proto(credential), pkcs12=bundle)

    def _issue(
        self, caller: Caller, wanted: NewKey, credential_id: str, request: pb.CreateKeyRequest
    ) -> tuple[IssuedKey, bytes]:
        """Make the key and its file. In a thread: deriving a key from the password takes 16 ms or more."""
        issued = self._authority.issue_key(
            kind=_KEY_ROLES[request.kind],
            credential_id=credential_id,
            organization=wanted.organization or caller.organization,
            user_id=wanted.user_id,
            display_name=wanted.display_name,
            valid=timedelta(seconds=wanted.valid_seconds),
        )
        return issued, issued.pkcs12(request.password, legacy=request.legacy)

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Context) -> pb.CreateTokenResponse:  # noqa: ARG002, N802 - as generated.
        """Make a token and register its digest."""
        caller = current_caller()
        api = _API_NAMES.get(request.api, "")
        access, retrieval = _ACCESS_NAMES.get(request.access, ""), _RETRIEVAL_NAMES.get(request.retrieval, "")
        wanted = NewToken(
            organization=request.organization,
            kind=TOKENS.get(api or "grpc", {}).get(retrieval if api == "asapi" else access),
            api=api,
            display_name=request.display_name,
            valid_seconds=_seconds(request.valid_period) if request.HasField("valid_period") else None,
            allowed=tuple(request.allow),
        )
        credentials.refuse_if([*_faults(request, api), *wanted.faults(caller)])
        token = credentials.make_token(api)
        credential = await self._store.write(
            credentials.create_token, caller=caller, wanted=wanted, digest=credentials.token_digest(token)
        )
        return pb.CreateTokenResponse(credential=credential_to_proto(credential), token=token)

    async def GetCredential(self, request: pb.GetCredentialRequest, context: Context) -> pb.Credential:  # noqa: ARG002, N802 - as generated.
        """Return one credential."""
        credential = await self._store.read(
            credentials.get, caller=current_caller(), credential_id=request.credential_id
        )
        return credential_to_proto(credential)

    async def ListCredentials(self, request: pb.ListCredentialsRequest, context: Context) -> pb.ListCredentialsResponse:  # noqa: ARG002, N802 - as generated.
        """Return a page of credentials."""
        page = await self._store.scan(
            credentials.page,
            caller=current_caller(),
            organization=request.organization,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListCredentialsResponse(
            credentials=map(credential_to_proto, page.items), next_page_token=page.next_page_token
        )

    async def RevokeCredential(self, request: pb.RevokeCredentialRequest, context: Context) -> pb.Credential:  # noqa: ARG002, N802 - as generated.
        """Revoke a credential."""
        credential = await self._store.write(
            credentials.revoke, caller=current_caller(), credential_id=request.credential_id
        )
        return credential_to_proto(credential)


def credential_to_proto(credential: Credential) -> pb.Credential:
    """Render a credential, without its secret."""
    message = pb.Credential(
        id=credential.id,
        organization=credential.organization,
        display_name=credential.display_name,
        create_time=timestamp(credential.create_time),
        expire_time=timestamp(credential.expire_time),
        revoke_time=timestamp(credential.revoke_time),
    )
    if credential.is_token:
        message.token.CopyFrom(_TOKENS[credential.kind])
        message.token.allow.extend(credential.allowed)
    else:
        message.key.CopyFrom(pb.Key(kind=_KINDS[credential.kind], user=credential.user_id))
    return message


def _faults(request: pb.CreateTokenRequest, api: str) -> list[Fault]:
    """Return what is wrong with the fields that tokens of one API have and those of others have not."""
    if not api:
        return [Fault("api", f"must be one of {', '.join(map(pb.TokenApi.Name, _API_NAMES))}")]
    if api == "asapi" and request.access:
        return [Fault("access", "tokens of asapi have none")]
    if api != "asapi" and request.retrieval:
        return [Fault("retrieval", "only tokens of asapi have one")]
    return []


def _seconds(period: Duration) -> float:
    return period.seconds + period.nanos / 1_000_000_000
