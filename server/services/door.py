"""The typed door: gRPC statuses with google.rpc details, and `Authorization: Bearer` or a client certificate."""

import hashlib
import re
from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from server.core import errors
from server.rpc.door import Context, CredentialType, Metadata, Presented
from server.rpc.xfcc import certificate_digest
from server.store.engine import StoreUnavailable
from taskhouse.v1.errors_pb2 import ErrorReason

DOMAIN = "taskhouse"
# Statuses travel in HTTP/2 headers, message and details both. gRPC clients take 8 KiB of them; more can break the one
# connection that all callers of a server share behind the edge.
MAX_MESSAGE_BYTES = 1000  # as percent-encoded on the wire
MAX_DETAILS_BYTES = 4000  # before base64
MORE_BYTES = 50  # of them, for saying how many faults are left out
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
_Code = grpc.StatusCode

STATUSES: dict[type[Exception], tuple[grpc.StatusCode, ErrorReason]] = {
    errors.InvalidFields: (_Code.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_INVALID_FIELD),
    errors.UndecodableRequest: (_Code.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_UNDECODABLE_REQUEST),
    errors.PathFieldOverridden: (_Code.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_PATH_FIELD_OVERRIDDEN),
    errors.TooLarge: (_Code.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_TOO_LARGE),
    errors.ResultTooLarge: (_Code.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_TOO_LARGE),
    errors.CredentialMissing: (_Code.UNAUTHENTICATED, ErrorReason.ERROR_REASON_NOT_AUTHENTICATED),
    errors.CredentialUnknown: (_Code.UNAUTHENTICATED, ErrorReason.ERROR_REASON_NOT_AUTHENTICATED),
    errors.TwoCredentials: (_Code.UNAUTHENTICATED, ErrorReason.ERROR_REASON_NOT_AUTHENTICATED),
    errors.NotPermitted: (_Code.PERMISSION_DENIED, ErrorReason.ERROR_REASON_NOT_PERMITTED),
    errors.TaskNotFound: (_Code.NOT_FOUND, ErrorReason.ERROR_REASON_TASK_NOT_FOUND),
    errors.TaskLimitReached: (_Code.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_TASK_LIMIT_REACHED),
    errors.TasksNotFound: (_Code.NOT_FOUND, ErrorReason.ERROR_REASON_TASK_NOT_FOUND),
    errors.ResultNotFound: (_Code.NOT_FOUND, ErrorReason.ERROR_REASON_RESULT_NOT_FOUND),
    errors.ResultClaimed: (_Code.UNAVAILABLE, ErrorReason.ERROR_REASON_RESULT_CLAIMED),
    errors.ListenerReplaced: (_Code.ABORTED, ErrorReason.ERROR_REASON_LISTENER_REPLACED),
    errors.DatasetNotFound: (_Code.NOT_FOUND, ErrorReason.ERROR_REASON_DATASET_NOT_FOUND),
    errors.DatasetExists: (_Code.ALREADY_EXISTS, ErrorReason.ERROR_REASON_DATASET_EXISTS),
    errors.UploadNotFound: (_Code.NOT_FOUND, ErrorReason.ERROR_REASON_UPLOAD_NOT_FOUND),
    errors.UploadTakenOver: (_Code.ABORTED, ErrorReason.ERROR_REASON_UPLOAD_TAKEN_OVER),
    errors.BudgetExhausted: (_Code.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_BUDGET_EXHAUSTED),
    errors.TooManyQuestions: (_Code.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_TOO_MANY_QUESTIONS),
    errors.OrganizationNotFound: (_Code.NOT_FOUND, ErrorReason.ERROR_REASON_ORGANIZATION_NOT_FOUND),
    errors.OrganizationExists: (_Code.ALREADY_EXISTS, ErrorReason.ERROR_REASON_ORGANIZATION_EXISTS),
    errors.StatNotFound: (_Code.NOT_FOUND, ErrorReason.ERROR_REASON_STAT_NOT_FOUND),
    errors.StatExists: (_Code.ALREADY_EXISTS, ErrorReason.ERROR_REASON_STAT_EXISTS),
    errors.AccountNotFound: (_Code.NOT_FOUND, ErrorReason.ERROR_REASON_ACCOUNT_NOT_FOUND),
    errors.AccountExists: (_Code.ALREADY_EXISTS, ErrorReason.ERROR_REASON_ACCOUNT_EXISTS),
    errors.RuleNotFound: (_Code.NOT_FOUND, ErrorReason.ERROR_REASON_RULE_NOT_FOUND),
    errors.RuleExists: (_Code.ALREADY_EXISTS, ErrorReason.ERROR_REASON_RULE_EXISTS),
    errors.RuleNameTaken: (_Code.ALREADY_EXISTS, ErrorReason.ERROR_REASON_RULE_NAME_TAKEN),
    errors.RuleChangedMeanwhile: (_Code.ABORTED, ErrorReason.ERROR_REASON_RULE_CHANGED_MEANWHILE),
    errors.WorkflowDisabled: (_Code.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_WORKFLOW_DISABLED),
    errors.ChangeRequestNotFound: (_Code.NOT_FOUND, ErrorReason.ERROR_REASON_CHANGE_REQUEST_NOT_FOUND),
    errors.ChangeRequestStateForbids: (
        _Code.FAILED_PRECONDITION,
        ErrorReason.ERROR_REASON_CHANGE_REQUEST_STATE_FORBIDS,
    ),
    errors.ChangeRequestDiverged: (_Code.ABORTED, ErrorReason.ERROR_REASON_CHANGE_REQUEST_DIVERGED),
    errors.ChangeRequestChangedMeanwhile: (_Code.ABORTED, ErrorReason.ERROR_REASON_CHANGE_REQUEST_CHANGED_MEANWHILE),
    errors.CredentialNotFound: (_Code.NOT_FOUND, ErrorReason.ERROR_REASON_CREDENTIAL_NOT_FOUND),
    errors.RequestIdReused: (_Code.ALREADY_EXISTS, ErrorReason.ERROR_REASON_REQUEST_ID_REUSED),
    errors.LeaseEnded: (_Code.ABORTED, ErrorReason.ERROR_REASON_LEASE_ENDED),
    errors.ProtocolBroken: (_Code.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_PROTOCOL_BROKEN),
    errors.StreamIdle: (_Code.DEADLINE_EXCEEDED, ErrorReason.ERROR_REASON_STREAM_IDLE),
    errors.SearchTooLong: (_Code.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_SEARCH_TOO_LONG),
    errors.Stopping: (_Code.UNAVAILABLE, ErrorReason.ERROR_REASON_STOPPING),
    errors.NotServed: (_Code.UNIMPLEMENTED, ErrorReason.ERROR_REASON_NOT_SERVED),
    StoreUnavailable: (_Code.UNAVAILABLE, ErrorReason.ERROR_REASON_STORE_UNAVAILABLE),
    # As generated servicers raise it for what they do not serve.
    NotImplementedError: (_Code.UNIMPLEMENTED, ErrorReason.ERROR_REASON_NOT_SERVED),
}
_FAULT = (_Code.INTERNAL, ErrorReason.ERROR_REASON_INTERNAL)


class TypedDoor:
    """The manners of `taskhouse.v1`."""

    stranger = None

    def presented(self, metadata: Metadata) -> Presented | None:
        """Return the token or the certificate. Raises TwoCredentials if there are both."""
        certificate = certificate_digest(metadata)
        authorization = metadata.get("authorization")
        if authorization is None:
            return Presented(CredentialType.CERTIFICATE, certificate) if certificate else None
        if certificate:
            raise errors.TwoCredentials
        bearer = _BEARER.fullmatch(str(authorization))
        if not bearer:
            raise errors.CredentialUnknown
        return Presented(CredentialType.TOKEN, hashlib.sha256(bearer[1].encode()).digest())

    async def refuse(self, context: Context, refusal: Exception, *, request_id: str) -> NoReturn:
        """Abort with the status, an ErrorInfo, and for bad fields a BadRequest."""
        status = status_of(refusal, request_id=request_id)
        code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
        trailing = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(code, status.message, trailing)


def reason_of(refusal: Exception) -> str:
    """Return the reason's name without its prefix, for example "LEASE_ENDED"."""
    return ErrorReason.Name(STATUSES.get(type(refusal), _FAULT)[1]).removeprefix("ERROR_REASON_")


def status_of(refusal: Exception, *, request_id: str) -> status_pb2.Status:
    """Return the refusal as google.rpc.Status."""
    code, _ = STATUSES.get(type(refusal), _FAULT)
    info = error_details_pb2.ErrorInfo(reason=reason_of(refusal), domain=DOMAIN)
    message = "The house failed; its log has more."
    if isinstance(refusal, errors.Refusal):
        message = str(refusal)
        info.metadata.update(refusal.metadata())
    elif isinstance(refusal, StoreUnavailable):
        message = "The store is not available at the moment; try again."
    elif code is _Code.UNIMPLEMENTED:
        message = "This method is not served."
    if code is _Code.INTERNAL:
        info.metadata["request_id"] = request_id
    status = status_pb2.Status(code=code.value[0], message=_cut(message), details=[_packed(info)])
    if isinstance(refusal, errors.InvalidFields):
        status.details.append(_packed(_bad_request(refusal, MAX_DETAILS_BYTES - status.ByteSize())))
    return status


def _bad_request(refusal: errors.InvalidFields, most: int) -> error_details_pb2.BadRequest:
    """Return as many of the faults as fit, and how many more there are."""
    bad = error_details_pb2.BadRequest()
    for fault in refusal.told():
        bad.field_violations.add(field=fault.field, description=fault.description, reason=fault.kind)
        if bad.ByteSize() > most - MORE_BYTES:
            del bad.field_violations[-1]
            break
    if more := len(refusal.faults) - len(bad.field_violations):
        bad.field_violations.add(description=f"and {more} more faults")
    return bad


def _cut(message: str) -> str:
    """Return as much of the message as fits on the wire, where each byte beyond printable ASCII takes three."""
    left = MAX_MESSAGE_BYTES
    for at, character in enumerate(message):
        left -= 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode())
        if left < 0:
            return message[:at]
    return message


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
