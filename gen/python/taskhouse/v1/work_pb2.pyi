import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from taskhouse.v1 import results_pb2 as _results_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkRequest(_message.Message):
    __slots__ = ("hello", "renewal", "reports", "drain")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    renewal: Renewal
    reports: Reports
    drain: Drain
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., renewal: _Optional[_Union[Renewal, _Mapping]] = ..., reports: _Optional[_Union[Reports, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ...) -> None: ...

class WorkResponse(_message.Message):
    __slots__ = ("welcome", "leases", "acknowledgements", "revocations")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGEMENTS_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    leases: Leases
    acknowledgements: Acknowledgements
    revocations: Revocations
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., leases: _Optional[_Union[Leases, _Mapping]] = ..., acknowledgements: _Optional[_Union[Acknowledgements, _Mapping]] = ..., revocations: _Optional[_Union[Revocations, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("worker", "session_id", "actions", "capacity")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    worker: str
    session_id: str
    actions: _containers.RepeatedCompositeFieldContainer[ActionName]
    capacity: int
    def __init__(self, worker: _Optional[str] = ..., session_id: _Optional[str] = ..., actions: _Optional[_Iterable[_Union[ActionName, _Mapping]]] = ..., capacity: _Optional[int] = ...) -> None: ...

class ActionName(_message.Message):
    __slots__ = ("service", "action")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    service: str
    action: str
    def __init__(self, service: _Optional[str] = ..., action: _Optional[str] = ...) -> None: ...

class Renewal(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Drain(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("session_id", "renew_period", "session_period")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    RENEW_PERIOD_FIELD_NUMBER: _ClassVar[int]
    SESSION_PERIOD_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    renew_period: _duration_pb2.Duration
    session_period: _duration_pb2.Duration
    def __init__(self, session_id: _Optional[str] = ..., renew_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., session_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Leases(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[Lease]
    def __init__(self, leases: _Optional[_Iterable[_Union[Lease, _Mapping]]] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("task_id", "attempt", "service", "action", "parameters")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    attempt: int
    service: str
    action: str
    parameters: _containers.ScalarMap[str, str]
    def __init__(self, task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., service: _Optional[str] = ..., action: _Optional[str] = ..., parameters: _Optional[_Mapping[str, str]] = ...) -> None: ...

class LeaseName(_message.Message):
    __slots__ = ("task_id", "attempt")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    attempt: int
    def __init__(self, task_id: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class Reports(_message.Message):
    __slots__ = ("reports",)
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    reports: _containers.RepeatedCompositeFieldContainer[Report]
    def __init__(self, reports: _Optional[_Iterable[_Union[Report, _Mapping]]] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("lease", "publication", "completion", "failure", "chunk")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PUBLICATION_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    RETURN_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    lease: LeaseName
    publication: Publication
    completion: Completion
    failure: Failure
    chunk: Chunk
    def __init__(self, lease: _Optional[_Union[LeaseName, _Mapping]] = ..., publication: _Optional[_Union[Publication, _Mapping]] = ..., completion: _Optional[_Union[Completion, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., **kwargs) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("number", "data")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    number: int
    data: bytes
    def __init__(self, number: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Bytes(_message.Message):
    __slots__ = ("data", "chunk_count", "content_type", "filename")
    DATA_FIELD_NUMBER: _ClassVar[int]
    CHUNK_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    chunk_count: int
    content_type: str
    filename: str
    def __init__(self, data: _Optional[bytes] = ..., chunk_count: _Optional[int] = ..., content_type: _Optional[str] = ..., filename: _Optional[str] = ...) -> None: ...

class Publication(_message.Message):
    __slots__ = ("number", "histogram", "bytes")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAM_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    number: int
    histogram: _results_pb2.Histogram
    bytes: Bytes
    def __init__(self, number: _Optional[int] = ..., histogram: _Optional[_Union[_results_pb2.Histogram, _Mapping]] = ..., bytes: _Optional[_Union[Bytes, _Mapping]] = ...) -> None: ...

class Completion(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Failure(_message.Message):
    __slots__ = ("error", "non_retryable")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    NON_RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    error: str
    non_retryable: bool
    def __init__(self, error: _Optional[str] = ..., non_retryable: _Optional[bool] = ...) -> None: ...

class Return(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Acknowledgements(_message.Message):
    __slots__ = ("acknowledgements",)
    ACKNOWLEDGEMENTS_FIELD_NUMBER: _ClassVar[int]
    acknowledgements: _containers.RepeatedCompositeFieldContainer[Acknowledgement]
    def __init__(self, acknowledgements: _Optional[_Iterable[_Union[Acknowledgement, _Mapping]]] = ...) -> None: ...

class Acknowledgement(_message.Message):
    __slots__ = ("lease", "refusal")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    lease: LeaseName
    refusal: str
    def __init__(self, lease: _Optional[_Union[LeaseName, _Mapping]] = ..., refusal: _Optional[str] = ...) -> None: ...

class Revocations(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[LeaseName]
    def __init__(self, leases: _Optional[_Iterable[_Union[LeaseName, _Mapping]]] = ...) -> None: ...
