from google.api import annotations_pb2 as _annotations_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from taskhouse.rest.v1 import aircloak_pb2 as _aircloak_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateStatRequest(_message.Message):
    __slots__ = ("http_body",)
    HTTP_BODY_FIELD_NUMBER: _ClassVar[int]
    http_body: _httpbody_pb2.HttpBody
    def __init__(self, http_body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class PurgeStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatRequest(_message.Message):
    __slots__ = ("stat_id",)
    STAT_ID_FIELD_NUMBER: _ClassVar[int]
    stat_id: str
    def __init__(self, stat_id: _Optional[str] = ...) -> None: ...

class UpdateStatRequest(_message.Message):
    __slots__ = ("stat_id", "http_body")
    STAT_ID_FIELD_NUMBER: _ClassVar[int]
    HTTP_BODY_FIELD_NUMBER: _ClassVar[int]
    stat_id: str
    http_body: _httpbody_pb2.HttpBody
    def __init__(self, stat_id: _Optional[str] = ..., http_body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class DeleteStatRequest(_message.Message):
    __slots__ = ("stat_id",)
    STAT_ID_FIELD_NUMBER: _ClassVar[int]
    stat_id: str
    def __init__(self, stat_id: _Optional[str] = ...) -> None: ...

class ListOrganizationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateOrganizationRequest(_message.Message):
    __slots__ = ("http_body",)
    HTTP_BODY_FIELD_NUMBER: _ClassVar[int]
    http_body: _httpbody_pb2.HttpBody
    def __init__(self, http_body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class GetOrganizationRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...
