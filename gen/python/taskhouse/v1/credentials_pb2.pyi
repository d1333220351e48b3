import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_KIND_UNSPECIFIED: _ClassVar[KeyKind]
    KEY_KIND_UPLOAD_ANY: _ClassVar[KeyKind]
    KEY_KIND_UPLOAD_USER: _ClassVar[KeyKind]
    KEY_KIND_ADMIN: _ClassVar[KeyKind]
    KEY_KIND_TASK_RUNNER: _ClassVar[KeyKind]
    KEY_KIND_WEB_API: _ClassVar[KeyKind]
    KEY_KIND_WORKER: _ClassVar[KeyKind]
    KEY_KIND_OPERATOR: _ClassVar[KeyKind]

class TokenApi(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOKEN_API_UNSPECIFIED: _ClassVar[TokenApi]
    TOKEN_API_GRPC: _ClassVar[TokenApi]
    TOKEN_API_MONARC: _ClassVar[TokenApi]
    TOKEN_API_ASAPI: _ClassVar[TokenApi]
    TOKEN_API_RUDDER: _ClassVar[TokenApi]

class TokenRetrieval(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOKEN_RETRIEVAL_UNSPECIFIED: _ClassVar[TokenRetrieval]
    TOKEN_RETRIEVAL_ASSTORE: _ClassVar[TokenRetrieval]
    TOKEN_RETRIEVAL_ASCHANNEL: _ClassVar[TokenRetrieval]

class TokenAccess(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOKEN_ACCESS_UNSPECIFIED: _ClassVar[TokenAccess]
    TOKEN_ACCESS_READ: _ClassVar[TokenAccess]
    TOKEN_ACCESS_WRITE: _ClassVar[TokenAccess]
    TOKEN_ACCESS_ADMIN: _ClassVar[TokenAccess]
KEY_KIND_UNSPECIFIED: KeyKind
KEY_KIND_UPLOAD_ANY: KeyKind
KEY_KIND_UPLOAD_USER: KeyKind
KEY_KIND_ADMIN: KeyKind
KEY_KIND_TASK_RUNNER: KeyKind
KEY_KIND_WEB_API: KeyKind
KEY_KIND_WORKER: KeyKind
KEY_KIND_OPERATOR: KeyKind
TOKEN_API_UNSPECIFIED: TokenApi
TOKEN_API_GRPC: TokenApi
TOKEN_API_MONARC: TokenApi
TOKEN_API_ASAPI: TokenApi
TOKEN_API_RUDDER: TokenApi
TOKEN_RETRIEVAL_UNSPECIFIED: TokenRetrieval
TOKEN_RETRIEVAL_ASSTORE: TokenRetrieval
TOKEN_RETRIEVAL_ASCHANNEL: TokenRetrieval
TOKEN_ACCESS_UNSPECIFIED: TokenAccess
TOKEN_ACCESS_READ: TokenAccess
TOKEN_ACCESS_WRITE: TokenAccess
TOKEN_ACCESS_ADMIN: TokenAccess

class Credential(_message.Message):
    __slots__ = ("id", "organization", "display_name", "key", "token", "create_time", "expire_time", "revoke_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVOKE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    organization: str
    display_name: str
    key: Key
    token: Token
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    revoke_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., organization: _Optional[str] = ..., display_name: _Optional[str] = ..., key: _Optional[_Union[Key, _Mapping]] = ..., token: _Optional[_Union[Token, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revoke_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Key(_message.Message):
    __slots__ = ("kind", "user")
    KIND_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    kind: KeyKind
    user: str
    def __init__(self, kind: _Optional[_Union[KeyKind, str]] = ..., user: _Optional[str] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("api", "access", "retrieval", "allow")
    API_FIELD_NUMBER: _ClassVar[int]
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_FIELD_NUMBER: _ClassVar[int]
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    api: TokenApi
    access: TokenAccess
    retrieval: TokenRetrieval
    allow: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, api: _Optional[_Union[TokenApi, str]] = ..., access: _Optional[_Union[TokenAccess, str]] = ..., retrieval: _Optional[_Union[TokenRetrieval, str]] = ..., allow: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateKeyRequest(_message.Message):
    __slots__ = ("organization", "kind", "user", "display_name", "password", "legacy", "valid_period")
    ORGANIZATION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    LEGACY_FIELD_NUMBER: _ClassVar[int]
    VALID_PERIOD_FIELD_NUMBER: _ClassVar[int]
    organization: str
    kind: KeyKind
    user: str
    display_name: str
    password: str
    legacy: bool
    valid_period: _duration_pb2.Duration
    def __init__(self, organization: _Optional[str] = ..., kind: _Optional[_Union[KeyKind, str]] = ..., user: _Optional[str] = ..., display_name: _Optional[str] = ..., password: _Optional[str] = ..., legacy: _Optional[bool] = ..., valid_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CreateKeyResponse(_message.Message):
    __slots__ = ("credential", "pkcs12")
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    PKCS12_FIELD_NUMBER: _ClassVar[int]
    credential: Credential
    pkcs12: bytes
    def __init__(self, credential: _Optional[_Union[Credential, _Mapping]] = ..., pkcs12: _Optional[bytes] = ...) -> None: ...

class CreateTokenRequest(_message.Message):
    __slots__ = ("organization", "api", "access", "display_name", "valid_period", "retrieval", "allow")
    ORGANIZATION_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    VALID_PERIOD_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_FIELD_NUMBER: _ClassVar[int]
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    organization: str
    api: TokenApi
    access: TokenAccess
    display_name: str
    valid_period: _duration_pb2.Duration
    retrieval: TokenRetrieval
    allow: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, organization: _Optional[str] = ..., api: _Optional[_Union[TokenApi, str]] = ..., access: _Optional[_Union[TokenAccess, str]] = ..., display_name: _Optional[str] = ..., valid_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retrieval: _Optional[_Union[TokenRetrieval, str]] = ..., allow: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateTokenResponse(_message.Message):
    __slots__ = ("credential", "token")
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    credential: Credential
    token: str
    def __init__(self, credential: _Optional[_Union[Credential, _Mapping]] = ..., token: _Optional[str] = ...) -> None: ...

class GetCredentialRequest(_message.Message):
    __slots__ = ("credential_id",)
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    credential_id: str
    def __init__(self, credential_id: _Optional[str] = ...) -> None: ...

class ListCredentialsRequest(_message.Message):
    __slots__ = ("organization", "page_size", "page_token")
    ORGANIZATION_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    organization: str
    page_size: int
    page_token: str
    def __init__(self, organization: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCredentialsResponse(_message.Message):
    __slots__ = ("credentials", "next_page_token")
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    credentials: _containers.RepeatedCompositeFieldContainer[Credential]
    next_page_token: str
    def __init__(self, credentials: _Optional[_Iterable[_Union[Credential, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RevokeCredentialRequest(_message.Message):
    __slots__ = ("credential_id",)
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    credential_id: str
    def __init__(self, credential_id: _Optional[str] = ...) -> None: ...
