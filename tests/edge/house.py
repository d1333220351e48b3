"""A stand-in for the servers, run as a process of its own: it tells back what the edge let through.

The tests steer it by the ids they send. `python house.py SOCKET` prints `ready` and serves until it is killed.
"""

# ruff: noqa: N802 - the contract names the methods.

import asyncio
import json
import os
import sys

import grpc
from google.api import httpbody_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from taskhouse.rest.v1 import aircloak_pb2, aircloak_pb2_grpc
from taskhouse.rest.v1 import health_pb2 as rest_health_pb2
from taskhouse.rest.v1 import health_pb2_grpc as rest_health_pb2_grpc
from taskhouse.v1 import datasets_pb2, tasks_pb2, tasks_pb2_grpc, work_pb2, work_pb2_grpc


def metadata_of(context) -> dict[str, str]:
    """Return every header that arrived, repeated ones joined."""
    found: dict[str, str] = {}
    for name, value in context.invocation_metadata():
        text = value if isinstance(value, str) else value.hex()
        found[name] = f"{found[name]}|{text}" if name in found else text
    return found


async def refuse(context, code: grpc.StatusCode, status: int, body: dict) -> None:
    """Refuse as the real servers do: a gRPC error, and beside it the documented answer."""
    headers = (("x-taskhouse-status", str(status)), ("x-taskhouse-body", json.dumps(body)))
    await context.send_initial_metadata(headers)
    await context.abort(code, "refused")


class Tasks(tasks_pb2_grpc.TaskServiceServicer):
    flooded = 0  # messages of 100,000 bytes that a stream could send

    def __init__(self) -> None:
        self._waiting = 0
        self._released = asyncio.Event()

    async def GetTask(self, request, context):
        if request.task_id == "hang":
            await asyncio.Event().wait()
        if request.task_id == "wait":
            self._waiting += 1
            await self._released.wait()
        if request.task_id == "waiting":
            return tasks_pb2.Task(attempt=self._waiting)
        if request.task_id == "flooded":
            return tasks_pb2.Task(attempt=Tasks.flooded)
        if request.task_id == "release":
            self._released.set()
        if request.task_id == "trailers":
            context.set_trailing_metadata((("x-long", "x" * 200_000),))
        if request.task_id == "missing":
            detail = error_details_pb2.ErrorInfo(reason="TASK_NOT_FOUND", domain="taskhouse")
            status = status_pb2.Status(code=5, message="No task missing.")
            status.details.add().Pack(detail)
            await context.abort_with_status(rpc_status.to_status(status))
        if request.task_id == "refused":
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, 418, {"teapot": True})
        await context.send_initial_metadata((("x-server", str(os.getpid())),))
        size = int(request.task_id) if request.task_id.isdigit() else 0
        return tasks_pb2.Task(id=request.task_id, parameters=metadata_of(context), state=1, action="a" * size)

    async def CreateTask(self, request, context):
        size = sum(len(value) for value in request.task.parameters.values())
        return tasks_pb2.Task(service=request.task.service, attempt=size, id=request.request_id)

    async def ListTasks(self, request, context):
        return tasks_pb2.ListTasksResponse(next_page_token=f"{request.page_size} {request.page_token}")

    async def CancelTask(self, request, context):
        return tasks_pb2.Task(id=request.task_id, state=5)


class Work(work_pb2_grpc.WorkServiceServicer):
    async def Work(self, request_iterator, context):
        async for request in request_iterator:
            while request.hello.worker == "flood":
                Tasks.flooded += 1
                await context.write(work_pb2.WorkResponse(welcome=work_pb2.Welcome(session_id="x" * 100_000)))
            if request.hello.worker == "fail":
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "It failed: ünd.")
            yield work_pb2.WorkResponse(welcome=work_pb2.Welcome(session_id=request.hello.worker))


class Aircloak(aircloak_pb2_grpc.AircloakServiceServicer):
    async def GetTaskResults(self, request, context):
        if request.task_id == "missing":
            body = {"success": False, "error": "Task not found."}
            await refuse(context, grpc.StatusCode.NOT_FOUND, 422, body)
        if request.task_id == "unchanged":
            await context.send_initial_metadata((("x-taskhouse-status", "304"), ("etag", '"7"')))
        if request.task_id == "hang":
            await asyncio.Event().wait()
        size = int(request.task_id) if request.task_id.isdigit() else 0
        bucket = aircloak_pb2.TaskResultBucket(name=request.task_id + "x" * size, value=0)
        return aircloak_pb2.GetTaskResultsResponse(
            success=True,
            page=request.page if request.HasField("page") else -1,
            per_page=request.per_page if request.HasField("per_page") else -1,
            items=[aircloak_pb2.TaskResult(published_at=1421660484000, buckets=[bucket])],
        )

    async def BulkInsert(self, request, context):
        if request.http_body.data == b"some":
            await context.send_initial_metadata((("x-taskhouse-status", "202"),))
        return told(request, context, size=len(request.http_body.data), content_type=request.http_body.content_type)

    async def Insert(self, request, context):
        return told(request, context, size=len(request.http_body.data))

    async def ListKeys(self, request, context):
        return aircloak_pb2.ListKeysResponse(success=True, keys=[aircloak_pb2.AircloakKey(id="k", created_at=1)])

    async def AnswerOther(self, request, context):
        if metadata_of(context)["x-envoy-original-method"] == "OPTIONS":
            await context.send_initial_metadata((("x-taskhouse-status", "204"), ("allow", "GET, HEAD")))
            return httpbody_pb2.HttpBody()
        await context.send_initial_metadata((("x-taskhouse-status", "404"),))
        return told(request, context, other=request.rest)


def told(request, context, **facts: object) -> httpbody_pb2.HttpBody:
    text = json.dumps({**facts, "metadata": metadata_of(context)})
    return httpbody_pb2.HttpBody(content_type="application/json", data=text.encode())


class Health(rest_health_pb2_grpc.HealthServiceServicer):
    async def GetHealth(self, request, context):
        return rest_health_pb2.GetHealthResponse(status="SERVING")


async def get_dataset(request: bytes, context) -> bytes:
    """Tell the bytes of the message, as the real servers decode them by themselves."""
    return datasets_pb2.Dataset(name=request.hex()).SerializeToString()


async def upload(requests, context) -> bytes:
    """Tell how many messages came, and how many bytes."""
    await context.send_initial_metadata(())
    sizes = [len(request) async for request in requests]
    return datasets_pb2.Upload(dataset=str(sum(sizes)), acknowledged_rows=len(sizes)).SerializeToString()


async def serve(socket: str) -> None:
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", 65 * 1024 * 1024),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.absolute_max_metadata_size", 64 * 1024),
            ("grpc.max_metadata_size", 32 * 1024),
        ]
    )
    tasks_pb2_grpc.add_TaskServiceServicer_to_server(Tasks(), server)
    work_pb2_grpc.add_WorkServiceServicer_to_server(Work(), server)
    aircloak_pb2_grpc.add_AircloakServiceServicer_to_server(Aircloak(), server)
    rest_health_pb2_grpc.add_HealthServiceServicer_to_server(Health(), server)
    raw = {
        "GetDataset": grpc.unary_unary_rpc_method_handler(get_dataset),
        "Upload": grpc.stream_unary_rpc_method_handler(upload),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("taskhouse.v1.DatasetService", raw),))
    serving = health.aio.HealthServicer()
    await serving.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(serving, server)
    reflection.enable_server_reflection(["taskhouse.v1.TaskService", reflection.SERVICE_NAME], server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
