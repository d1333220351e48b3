"""Texts that one of the engines cannot hold: no call fails on them, on either."""

import importlib
import pkgutil

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

import taskhouse.v1
from server.core import credentials, organizations
from server.core.caller import Role
from tests.core.scenes import HOUSE

TEXT = "a\0"
FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED)


def modules():
    names = (found.name for found in pkgutil.iter_modules(taskhouse.v1.__path__) if found.name.endswith("_pb2"))
    return {name: importlib.import_module(f"taskhouse.v1.{name}") for name in names}


METHODS = [
    method
    for module in modules().values()
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not method.client_streaming
]


def fill(message: Message, depth: int = 0) -> None:
    """Put the text into every field that can hold one."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].type == field.TYPE_STRING:
                getattr(message, field.name)[TEXT] = TEXT
        elif field.type == field.TYPE_STRING and field.is_repeated:
            getattr(message, field.name).append(TEXT)
        elif field.type == field.TYPE_STRING:
            setattr(message, field.name, TEXT)
        elif field.type == field.TYPE_MESSAGE and depth < 3 and field.message_type.file.package == "taskhouse.v1":
            inner = getattr(message, field.name)
            if field.is_repeated:
                inner = inner.add()
            inner.SetInParent()
            fill(inner, depth + 1)


def requests(method) -> list[Message]:
    """Return a request with the text everywhere, and one for each of its own fields alone."""
    made = getattr(modules()[f"{method.input_type.file.name.rpartition('/')[2][:-6]}_pb2"], method.input_type.name)
    whole = made()
    fill(whole)
    if whole == made():  # There is no place for a text in it.
        return []
    texts = [field for field in whole.DESCRIPTOR.fields if field.type == field.TYPE_STRING and not field.is_repeated]
    return [whole, *(made(**{field.name: TEXT}) for field in texts)]


@pytest.mark.parametrize("organization", ["", "acme"])
async def test_a_text_with_u0000_is_refused_or_unknown_in_every_field_of_every_call(server, organization):
    await server.store.write(organizations.create, name="acme")
    token = credentials.make_token()
    wanted = credentials.NewToken(organization=organization, kind=Role.TOKEN_ADMIN)
    digest = credentials.token_digest(token)
    await server.store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)
    failed = []
    async with grpc.aio.insecure_channel(server.address) as channel:
        for method in METHODS:
            path = f"/{method.containing_service.full_name}/{method.name}"
            for request in requests(method):
                how = channel.unary_stream if method.server_streaming else channel.unary_unary
                call = how(path, request_serializer=type(request).SerializeToString)(
                    request, metadata=(("authorization", f"Bearer {token}"),), timeout=10
                )
                try:
                    await (call.read() if method.server_streaming else call)
                except grpc.aio.AioRpcError as error:
                    if error.code() in FAULTS:
                        failed.append((path, str(request), error.code().name))
    assert failed == []
