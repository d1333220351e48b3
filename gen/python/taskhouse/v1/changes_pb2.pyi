import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from taskhouse.v1 import rules_pb2 as _rules_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChangeRequestState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_REQUEST_STATE_UNSPECIFIED: _ClassVar[ChangeRequestState]
    CHANGE_REQUEST_STATE_PENDING_VALIDATION: _ClassVar[ChangeRequestState]
    CHANGE_REQUEST_STATE_PENDING_DEPLOYMENT: _ClassVar[ChangeRequestState]
    CHANGE_REQUEST_STATE_DEPLOYED: _ClassVar[ChangeRequestState]
    CHANGE_REQUEST_STATE_CANCELLED: _ClassVar[ChangeRequestState]
CHANGE_REQUEST_STATE_UNSPECIFIED: ChangeRequestState
CHANGE_REQUEST_STATE_PENDING_VALIDATION: ChangeRequestState
CHANGE_REQUEST_STATE_PENDING_DEPLOYMENT: ChangeRequestState
CHANGE_REQUEST_STATE_DEPLOYED: ChangeRequestState
CHANGE_REQUEST_STATE_CANCELLED: ChangeRequestState

class ChangeRequest(_message.Message):
    __slots__ = ("id", "name", "description", "state", "rule_id", "before", "after", "author_id", "author_name", "reason", "is_acceptable", "etag", "create_time", "update_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_ID_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    IS_ACCEPTABLE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    description: str
    state: ChangeRequestState
    rule_id: str
    before: _rules_pb2.Rule
    after: _rules_pb2.Rule
    author_id: str
    author_name: str
    reason: str
    is_acceptable: bool
    etag: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., state: _Optional[_Union[ChangeRequestState, str]] = ..., rule_id: _Optional[str] = ..., before: _Optional[_Union[_rules_pb2.Rule, _Mapping]] = ..., after: _Optional[_Union[_rules_pb2.Rule, _Mapping]] = ..., author_id: _Optional[str] = ..., author_name: _Optional[str] = ..., reason: _Optional[str] = ..., is_acceptable: _Optional[bool] = ..., etag: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetChangeRequestRequest(_message.Message):
    __slots__ = ("change_request_id",)
    CHANGE_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    change_request_id: int
    def __init__(self, change_request_id: _Optional[int] = ...) -> None: ...

class ListChangeRequestsRequest(_message.Message):
    __slots__ = ("states", "rule_id", "page_size", "page_token")
    STATES_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[ChangeRequestState]
    rule_id: str
    page_size: int
    page_token: str
    def __init__(self, states: _Optional[_Iterable[_Union[ChangeRequestState, str]]] = ..., rule_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListChangeRequestsResponse(_message.Message):
    __slots__ = ("change_requests", "next_page_token")
    CHANGE_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    change_requests: _containers.RepeatedCompositeFieldContainer[ChangeRequest]
    next_page_token: str
    def __init__(self, change_requests: _Optional[_Iterable[_Union[ChangeRequest, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateChangeRequestRequest(_message.Message):
    __slots__ = ("change_request", "update_mask")
    CHANGE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    change_request: ChangeRequest
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, change_request: _Optional[_Union[ChangeRequest, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class AcceptChangeRequestRequest(_message.Message):
    __slots__ = ("change_request_id", "state", "reason")
    CHANGE_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    change_request_id: int
    state: ChangeRequestState
    reason: str
    def __init__(self, change_request_id: _Optional[int] = ..., state: _Optional[_Union[ChangeRequestState, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class DeclineChangeRequestRequest(_message.Message):
    __slots__ = ("change_request_id", "reason")
    CHANGE_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    change_request_id: int
    reason: str
    def __init__(self, change_request_id: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...
