from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_FIELD: _ClassVar[ErrorReason]
    ERROR_REASON_UNDECODABLE_REQUEST: _ClassVar[ErrorReason]
    ERROR_REASON_PATH_FIELD_OVERRIDDEN: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_AUTHENTICATED: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_PERMITTED: _ClassVar[ErrorReason]
    ERROR_REASON_TASK_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_RESULT_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_DATASET_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_DATASET_EXISTS: _ClassVar[ErrorReason]
    ERROR_REASON_ORGANIZATION_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_ORGANIZATION_EXISTS: _ClassVar[ErrorReason]
    ERROR_REASON_CREDENTIAL_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_REQUEST_ID_REUSED: _ClassVar[ErrorReason]
    ERROR_REASON_LEASE_ENDED: _ClassVar[ErrorReason]
    ERROR_REASON_PROTOCOL_BROKEN: _ClassVar[ErrorReason]
    ERROR_REASON_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_STORE_UNAVAILABLE: _ClassVar[ErrorReason]
    ERROR_REASON_STOPPING: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_SERVED: _ClassVar[ErrorReason]
    ERROR_REASON_INTERNAL: _ClassVar[ErrorReason]
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_INVALID_FIELD: ErrorReason
ERROR_REASON_UNDECODABLE_REQUEST: ErrorReason
ERROR_REASON_PATH_FIELD_OVERRIDDEN: ErrorReason
ERROR_REASON_NOT_AUTHENTICATED: ErrorReason
ERROR_REASON_NOT_PERMITTED: ErrorReason
ERROR_REASON_TASK_NOT_FOUND: ErrorReason
ERROR_REASON_RESULT_NOT_FOUND: ErrorReason
ERROR_REASON_DATASET_NOT_FOUND: ErrorReason
ERROR_REASON_DATASET_EXISTS: ErrorReason
ERROR_REASON_ORGANIZATION_NOT_FOUND: ErrorReason
ERROR_REASON_ORGANIZATION_EXISTS: ErrorReason
ERROR_REASON_CREDENTIAL_NOT_FOUND: ErrorReason
ERROR_REASON_REQUEST_ID_REUSED: ErrorReason
ERROR_REASON_LEASE_ENDED: ErrorReason
ERROR_REASON_PROTOCOL_BROKEN: ErrorReason
ERROR_REASON_TOO_LARGE: ErrorReason
ERROR_REASON_STORE_UNAVAILABLE: ErrorReason
ERROR_REASON_STOPPING: ErrorReason
ERROR_REASON_NOT_SERVED: ErrorReason
ERROR_REASON_INTERNAL: ErrorReason
