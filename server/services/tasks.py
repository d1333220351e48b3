"""TaskService."""

import asyncio
from collections.abc import Sequence

from google.rpc import code_pb2, status_pb2

from server.core import tasks
from server.core.admission import Admission
from server.core.tasks import Progress, Retrieval, Task, TaskState, Wanted
from server.rpc.door import Context, current_caller
from server.services.times import timestamp
from server.services.watching import Watching
from server.store.engine import Store
from taskhouse.v1 import tasks_pb2 as pb
from taskhouse.v1 import tasks_pb2_grpc

_STATES = {
    TaskState.PENDING: pb.TASK_STATE_PENDING,
    TaskState.RUNNING: pb.TASK_STATE_RUNNING,
    TaskState.SUCCEEDED: pb.TASK_STATE_SUCCEEDED,
    TaskState.FAILED: pb.TASK_STATE_FAILED,
    TaskState.CANCELLED: pb.TASK_STATE_CANCELLED,
}
_RETRIEVALS = {
    Retrieval.PAGES: pb.TASK_RETRIEVAL_PAGES,
    Retrieval.ASSTORE: pb.TASK_RETRIEVAL_ASSTORE,
    Retrieval.ASCHANNEL: pb.TASK_RETRIEVAL_ASCHANNEL,
}
_RETRIEVALS_ASKED = {number: retrieval for retrieval, number in _RETRIEVALS.items()} | {
    pb.TASK_RETRIEVAL_UNSPECIFIED: Retrieval.PAGES
}
_ERROR_CODES = {TaskState.FAILED: code_pb2.UNKNOWN, TaskState.CANCELLED: code_pb2.CANCELLED}


class TaskServicer(tasks_pb2_grpc.TaskServiceServicer):
    """Serves tasks to their organization. When `stopping` is set, the streams that watch tasks end."""

    def __init__(self, store: Store, stopping: asyncio.Event, admission: Admission) -> None:
        self._store = store
        self._admission = admission
        self._watching = Watching(store, stopping, self._look)

    async def _look(self, task_ids: Sequence[str]) -> dict[str, Progress]:
        return {one.id: one for one in await self._store.read(tasks.progress, task_ids=task_ids)}

    async def CreateTask(self, request: pb.CreateTaskRequest, context: Context) -> pb.Task:  # noqa: ARG002, N802 - as generated.
        """Store a task."""
        caller = current_caller()
        full = await self._admission.is_full(caller.tenant)
        task = await self._store.write(tasks.create, caller=caller, wanted=_wanted(request), full=full)
        return task_to_proto(task)

    async def BatchCreateTasks(  # noqa: N802 - as generated.
        self,
        request: pb.BatchCreateTasksRequest,
        context: Context,  # noqa: ARG002 - as generated.
    ) -> pb.BatchCreateTasksResponse:
        """Store many tasks."""
        wanted, caller = [_wanted(one) for one in request.requests], current_caller()
        full = await self._admission.is_full(caller.tenant, len(wanted))
        created = await self._store.write(tasks.create_many, caller=caller, wanted=wanted, full=full)
        return pb.BatchCreateTasksResponse(tasks=map(task_to_proto, created))

    async def GetTask(self, request: pb.GetTaskRequest, context: Context) -> pb.Task:  # noqa: ARG002, N802 - as generated.
        """Return one task."""
        task = await self._store.read(tasks.get, caller=current_caller(), task_id=request.task_id)
        return task_to_proto(task)

    async def BatchGetTasks(self, request: pb.BatchGetTasksRequest, context: Context) -> pb.BatchGetTasksResponse:  # noqa: ARG002, N802 - as generated.
        """Return many tasks."""
        found = await self._store.scan(tasks.get_many, caller=current_caller(), task_ids=request.task_ids)
        return pb.BatchGetTasksResponse(tasks=map(task_to_proto, found))

    async def WatchTask(self, request: pb.WatchTaskRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802 - as generated.
        """Send the task, and again after each change, until it is over."""
        caller = current_caller()
        sent: Task | None = None
        with self._watching.watched(request.task_id) as watched:
            while sent is None or not sent.state.is_over:
                if sent:
                    await watched.changed()
                task = await self._store.read(tasks.get, caller=caller, task_id=request.task_id)
                if task != sent:
                    await context.write(task_to_proto(task))
                    sent = task

    async def ListTasks(self, request: pb.ListTasksRequest, context: Context) -> pb.ListTasksResponse:  # noqa: ARG002, N802 - as generated.
        """Return a page of tasks."""
        page = await self._store.scan(
            tasks.page, caller=current_caller(), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListTasksResponse(tasks=map(task_to_proto, page.items), next_page_token=page.next_page_token)

    async def CancelTask(self, request: pb.CancelTaskRequest, context: Context) -> pb.Task:  # noqa: ARG002, N802 - as generated.
        """End a task."""
        task = await self._store.write(tasks.cancel, caller=current_caller(), task_id=request.task_id)
        return task_to_proto(task)


def _wanted(request: pb.CreateTaskRequest) -> Wanted:
    task = request.task
    retrieval = _RETRIEVALS_ASKED.get(task.retrieval, "")
    return Wanted(task.service, task.action, dict(task.parameters), request.request_id, retrieval)


def task_to_proto(task: Task) -> pb.Task:
    """Render a task."""
    return pb.Task(
        id=task.id,
        service=task.service,
        action=task.action,
        parameters=task.parameters,
        state=_STATES[task.state],
        attempt=task.attempt,
        failure_count=task.failures,
        last_error=task.last_error,
        result_count=task.result_count,
        retrieval=_RETRIEVALS[task.retrieval],
        account=task.account,
        error=None if task.error is None else status_pb2.Status(code=_ERROR_CODES[task.state], message=task.error),
        ready_time=timestamp(task.ready_time),
        create_time=timestamp(task.create_time),
        start_time=timestamp(task.start_time),
        end_time=timestamp(task.end_time),
    )
