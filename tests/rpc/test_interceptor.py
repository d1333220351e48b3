import asyncio
import logging
import uuid
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from server.core import credentials
from server.core.caller import Caller, Role
from server.store.address import DatabaseAddress
from server.wiring import Server
from taskhouse.rest.v1 import aircloak_pb2
from taskhouse.v1 import organizations_pb2, organizations_pb2_grpc, tasks_pb2, tasks_pb2_grpc
from tests import databases

CREATE = "/taskhouse.v1.TaskService/CreateTask"


@pytest.fixture
async def channel(server: Server):
    async with grpc.aio.insecure_channel(server.address) as opened:
        yield opened


def reason_of(error: grpc.aio.AioRpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    next(detail for detail in rpc_status.from_call(error).details if detail.Is(info.DESCRIPTOR)).Unpack(info)
    return info.reason


async def test_a_call_without_a_credential_is_told_so_with_its_reason(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await tasks_pb2_grpc.TaskServiceStub(channel).ListTasks(tasks_pb2.ListTasksRequest())
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason_of(refused.value) == "NOT_AUTHENTICATED"


async def test_a_stranger_learns_nothing_of_what_a_method_takes(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary(CREATE)(b"\xff\xff\xff")
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\x02\xc3\x28"], ids=["no message", "bad UTF-8"])
async def test_undecodable_input_is_an_invalid_argument_without_any_word_of_python(
    channel: grpc.aio.Channel, raw: bytes
) -> None:
    call = channel.unary_unary("/grpc.health.v1.Health/Check")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(raw)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(refused.value) == "UNDECODABLE_REQUEST"
    assert "Error" not in refused.value.details()


async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary("/taskhouse.v1.TaskService/Nonsense")(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_served_to_anybody(channel: grpc.aio.Channel) -> None:
    reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_names_every_typed_service(channel: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    replies = [reply async for reply in stub.ServerReflectionInfo(iter(asked))]
    names = {service.name for service in replies[0].list_services_response.service}
    nouns = ("Credential", "Dataset", "Organization", "Result", "Task", "Work")
    assert {f"taskhouse.v1.{noun}Service" for noun in nouns} <= names


async def test_a_call_is_one_line_in_the_log_with_its_request_id_and_no_secret(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "taskhouse.calls")
    name, secret = str(uuid.uuid4()), "very-secret-token"
    stub = tasks_pb2_grpc.TaskServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.ListTasks(
            tasks_pb2.ListTasksRequest(), metadata=(("x-request-id", name), ("authorization", f"Bearer {secret}"))
        )
    async with asyncio.timeout(10):
        while not (lines := [line for line in caplog.messages if name in line]):  # noqa: ASYNC110 - logging sets no event.
            await asyncio.sleep(0.001)  # The line is written once the answer is on its way.
    assert len(lines) == 1
    assert "/taskhouse.v1.TaskService/ListTasks" in lines[0]
    assert "CredentialUnknown" in lines[0]
    assert secret not in caplog.text


async def test_a_documented_path_is_not_served_as_native_grpc(channel: grpc.aio.Channel) -> None:
    call = channel.unary_unary(
        "/taskhouse.rest.v1.AircloakService/AnswerOther",
        request_serializer=aircloak_pb2.AnswerOtherRequest.SerializeToString,
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(aircloak_pb2.AnswerOtherRequest())
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def refuses(address: str) -> None:
    """Wait until no new call is taken."""
    async with asyncio.timeout(10):
        while True:
            async with grpc.aio.insecure_channel(address) as channel:
                call = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
                if await call.code() is grpc.StatusCode.UNAVAILABLE:
                    return


async def test_a_stopping_server_answers_the_calls_under_way_after_their_commit(
    server: Server, address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, operator = credentials.make_token(), Caller("test", Role.OPERATOR, None, "", "")
    wanted = credentials.NewToken(organization="", kind=Role.TOKEN_ADMIN)
    digest = credentials.token_digest(token)
    await server.store.write(credentials.create_token, caller=operator, wanted=wanted, digest=digest)
    write, arrived = server.store.write, asyncio.Semaphore(0)

    async def counted(*args: Any, **kwargs: Any) -> Any:
        arrived.release()
        return await write(*args, **kwargs)

    monkeypatch.setattr(server.store, "write", counted)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = organizations_pb2_grpc.OrganizationServiceStub(channel)
        async with databases.nobody_writes(address, "organizations"):
            requests = [organizations_pb2.Organization(name=f"o{n}") for n in range(5)]
            calls = [
                asyncio.ensure_future(
                    stub.CreateOrganization(
                        organizations_pb2.CreateOrganizationRequest(organization=organization),
                        metadata=(("authorization", f"Bearer {token}"),),
                    )
                )
                for organization in requests
            ]
            for _ in calls:
                await asyncio.wait_for(arrived.acquire(), 10)
            stopping = asyncio.ensure_future(server.stop(grace=10))
            await refuses(server.address)
            assert not any(call.done() for call in calls)
        assert [reply.name for reply in await asyncio.gather(*calls)] == [f"o{n}" for n in range(5)]
        await stopping


async def test_a_refusal_is_bounded_whatever_was_sent(server: Server) -> None:
    token, operator = credentials.make_token(), Caller("test", Role.OPERATOR, None, "", "")
    wanted = credentials.NewToken(organization="", kind=Role.TOKEN_ADMIN)
    digest = credentials.token_digest(token)
    await server.store.write(credentials.create_token, caller=operator, wanted=wanted, digest=digest)
    bearer = (("authorization", f"Bearer {token}"),)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = organizations_pb2_grpc.OrganizationServiceStub(channel)
        for name in ("x" * 100_000, "\U0001f600%" * 20_000):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.GetOrganization(organizations_pb2.GetOrganizationRequest(organization=name), metadata=bearer)
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
            assert reason_of(refused.value) == "ORGANIZATION_NOT_FOUND"
            details = dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
            assert len(details) + 3 * len(refused.value.details().encode()) < 8000
