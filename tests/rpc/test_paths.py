import pytest
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message

from server.core.errors import PathFieldOverridden
from server.rpc.paths import check_for
from taskhouse.rest.v1 import aircloak_pb2, asapi_results_pb2  # noqa: F401 - known by being imported.
from taskhouse.v1 import datasets_pb2, tasks_pb2

CANCEL, GET_PAGE = "taskhouse.v1.TaskService.CancelTask", "taskhouse.rest.v1.AircloakService.GetTaskResults"
OTHER, OTHER_REQUEST = "taskhouse.rest.v1.AsapiResultService.AnswerOther", aircloak_pb2.AnswerOtherRequest
COUNT = "taskhouse.v1.DatasetService.CountUsers"
CANCEL_REQUEST, PAGE_REQUEST = tasks_pb2.CancelTaskRequest, aircloak_pb2.GetTaskResultsRequest


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        (CANCEL, "/v1/tasks/t1:cancel", CANCEL_REQUEST(task_id="t1")),
        (CANCEL, "/v1/tasks/a%3Ab:cancel", CANCEL_REQUEST(task_id="a:b")),
        (CANCEL, "//v1//tasks/t1:cancel", CANCEL_REQUEST(task_id="t1")),
        (GET_PAGE, "/api/task_results/7", PAGE_REQUEST(task_id="7")),
        (GET_PAGE, "/api/task_results/7/", PAGE_REQUEST(task_id="7")),
        (GET_PAGE, "/api/task_results/7?page=2&task_id=7", PAGE_REQUEST(task_id="7", page=2)),
        (GET_PAGE, "/api/task_results/a%2Fb", PAGE_REQUEST(task_id="a/b")),
        (GET_PAGE, "/api/task_results/%C3%A9", PAGE_REQUEST(task_id="é")),
        (OTHER, "/fetch", OTHER_REQUEST()),
        (OTHER, "/fetch/", OTHER_REQUEST()),
        (OTHER, "/fetch/x/y", OTHER_REQUEST(rest="x/y")),
        (OTHER, "/fetch/%61%2fb%3A%C3%A9", OTHER_REQUEST(rest="a%2fb%3Aé")),
        (OTHER, "/stream/", OTHER_REQUEST()),
        (COUNT, "/v1/datasets/d:countUsers", datasets_pb2.CountUsersRequest(dataset="d")),
    ],
)
def test_a_message_made_of_its_path_passes(method: str, path: str, message: Message) -> None:
    check_for(Default().FindMethodByName(method))(path, message)


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        (CANCEL, "/v1/tasks/t1:cancel?task_id=t2", CANCEL_REQUEST(task_id="t2")),
        (CANCEL, "/v1/tasks/t1:cancel?task%5fid=t2", CANCEL_REQUEST(task_id="t2")),
        (GET_PAGE, "/api/task_results/7?taskId=8", PAGE_REQUEST(task_id="8")),
        (GET_PAGE, "/api/task_results/7?taskId=", PAGE_REQUEST(task_id="")),
        (OTHER, "/fetch?rest=x", OTHER_REQUEST(rest="x")),
        (OTHER, "/fetch/x?rest=a%252fb", OTHER_REQUEST(rest="a%2fb")),
        (OTHER, "/fetchx", OTHER_REQUEST(rest="x")),
        (GET_PAGE, "/somewhere/else", PAGE_REQUEST(task_id="7")),
    ],
)
def test_a_message_whose_path_field_came_from_elsewhere_is_refused(method: str, path: str, message: Message) -> None:
    with pytest.raises(PathFieldOverridden):
        check_for(Default().FindMethodByName(method))(path, message)


def test_a_method_without_fields_in_its_path_needs_no_check() -> None:
    assert check_for(Default().FindMethodByName("taskhouse.v1.TaskService.ListTasks")) is None
