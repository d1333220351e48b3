from google.api import annotations_pb2 as _annotations_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from taskhouse.rest.v1 import aircloak_pb2 as _aircloak_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DiscoverServicesRequest(_message.Message):
    __slots__ = ("http_body",)
    HTTP_BODY_FIELD_NUMBER: _ClassVar[int]
    http_body: _httpbody_pb2.HttpBody
    def __init__(self, http_body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class DiscoverServicesResponse(_message.Message):
    __slots__ = ("services", "task_submission_endpoint", "stream_endpoints", "retrieval_protocol")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    TASK_SUBMISSION_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    STREAM_ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[AsapiServiceDescription]
    task_submission_endpoint: AsapiEndpoint
    stream_endpoints: _containers.RepeatedCompositeFieldContainer[AsapiEndpoint]
    retrieval_protocol: str
    def __init__(self, services: _Optional[_Iterable[_Union[AsapiServiceDescription, _Mapping]]] = ..., task_submission_endpoint: _Optional[_Union[AsapiEndpoint, _Mapping]] = ..., stream_endpoints: _Optional[_Iterable[_Union[AsapiEndpoint, _Mapping]]] = ..., retrieval_protocol: _Optional[str] = ...) -> None: ...

class AsapiServiceDescription(_message.Message):
    __slots__ = ("name", "slug", "actions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SLUG_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    slug: str
    actions: _containers.RepeatedCompositeFieldContainer[AsapiAction]
    def __init__(self, name: _Optional[str] = ..., slug: _Optional[str] = ..., actions: _Optional[_Iterable[_Union[AsapiAction, _Mapping]]] = ...) -> None: ...

class AsapiAction(_message.Message):
    __slots__ = ("name", "slug", "description", "execution", "parameters", "permissions")
    class PermissionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.ListValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SLUG_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    slug: str
    description: str
    execution: str
    parameters: _containers.RepeatedCompositeFieldContainer[AsapiParameter]
    permissions: _containers.MessageMap[str, _struct_pb2.ListValue]
    def __init__(self, name: _Optional[str] = ..., slug: _Optional[str] = ..., description: _Optional[str] = ..., execution: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[AsapiParameter, _Mapping]]] = ..., permissions: _Optional[_Mapping[str, _struct_pb2.ListValue]] = ...) -> None: ...

class AsapiParameter(_message.Message):
    __slots__ = ("name", "slug", "type", "description", "optional")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SLUG_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    slug: str
    type: str
    description: str
    optional: bool
    def __init__(self, name: _Optional[str] = ..., slug: _Optional[str] = ..., type: _Optional[str] = ..., description: _Optional[str] = ..., optional: _Optional[bool] = ...) -> None: ...

class AsapiEndpoint(_message.Message):
    __slots__ = ("host", "protocol", "uri")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    host: str
    protocol: str
    uri: str
    def __init__(self, host: _Optional[str] = ..., protocol: _Optional[str] = ..., uri: _Optional[str] = ...) -> None: ...

class RegisterAccountRequest(_message.Message):
    __slots__ = ("http_body",)
    HTTP_BODY_FIELD_NUMBER: _ClassVar[int]
    http_body: _httpbody_pb2.HttpBody
    def __init__(self, http_body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class RegisterAccountResponse(_message.Message):
    __slots__ = ("success",)
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    def __init__(self, success: _Optional[bool] = ...) -> None: ...

class DeregisterAccountRequest(_message.Message):
    __slots__ = ("http_body",)
    HTTP_BODY_FIELD_NUMBER: _ClassVar[int]
    http_body: _httpbody_pb2.HttpBody
    def __init__(self, http_body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class DeregisterAccountResponse(_message.Message):
    __slots__ = ("success",)
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    def __init__(self, success: _Optional[bool] = ...) -> None: ...

class SubmitTaskRequest(_message.Message):
    __slots__ = ("http_body",)
    HTTP_BODY_FIELD_NUMBER: _ClassVar[int]
    http_body: _httpbody_pb2.HttpBody
    def __init__(self, http_body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class SubmitTaskResponse(_message.Message):
    __slots__ = ("task_id", "retrieval_protocol", "stream", "success")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    retrieval_protocol: str
    stream: _struct_pb2.Value
    success: bool
    def __init__(self, task_id: _Optional[str] = ..., retrieval_protocol: _Optional[str] = ..., stream: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., success: _Optional[bool] = ...) -> None: ...

class GetTaskStatusesRequest(_message.Message):
    __slots__ = ("http_body",)
    HTTP_BODY_FIELD_NUMBER: _ClassVar[int]
    http_body: _httpbody_pb2.HttpBody
    def __init__(self, http_body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...
