"""TaskService."""

from google.rpc import code_pb2, status_pb2

from server.core import tasks
from server.core.tasks import Task, TaskState
from server.rpc.door import Context, current_caller
from server.services.times import timestamp
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
_ERROR_CODES = {TaskState.FAILED: code_pb2.UNKNOWN, TaskState.CANCELLED: code_pb2.CANCELLED}


class TaskServicer(tasks_pb2_grpc.TaskServiceServicer):
    """Serves tasks to their organization."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def CreateTask(self, request: pb.CreateTaskRequest, context: Context) -> pb.Task:  # noqa: ARG002, N802 - as generated.
        """Store a task."""
        task = await self._store.write(
            tasks.create,
            caller=current_caller(),
            service=request.task.service,
            action=request.task.action,
            parameters=dict(request.task.parameters),
            request_id=request.request_id,
        )
        return task_to_proto(task)

    async def GetTask(self, request: pb.GetTaskRequest, context: Context) -> pb.Task:  # noqa: ARG002, N802 - as generated.
        """Return one task."""
        task = await self._store.read(tasks.get, caller=current_caller(), task_id=request.task_id)
        return task_to_proto(task)

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


def task_to_proto(task: Task) -> pb.Task:
    """Render a task."""
    return pb.Task(
        id=task.id,
        service=task.service,
        action=task.action,
        parameters=task.parameters,
        state=_STATES[task.state],
        attempt=task.attempt,
        result_count=task.result_count,
        error=None if task.error is None else status_pb2.Status(code=_ERROR_CODES[task.state], message=task.error),
        create_time=timestamp(task.create_time),
        start_time=timestamp(task.start_time),
        end_time=timestamp(task.end_time),
    )
