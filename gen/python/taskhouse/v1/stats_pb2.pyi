import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatOperator(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAT_OPERATOR_UNSPECIFIED: _ClassVar[StatOperator]
    STAT_OPERATOR_EQUAL: _ClassVar[StatOperator]
    STAT_OPERATOR_EQUAL_IGNORING_CASE: _ClassVar[StatOperator]
    STAT_OPERATOR_GREATER: _ClassVar[StatOperator]
    STAT_OPERATOR_GREATER_OR_EQUAL: _ClassVar[StatOperator]
    STAT_OPERATOR_LESS: _ClassVar[StatOperator]
    STAT_OPERATOR_LESS_OR_EQUAL: _ClassVar[StatOperator]
    STAT_OPERATOR_IN: _ClassVar[StatOperator]
    STAT_OPERATOR_ALL: _ClassVar[StatOperator]
    STAT_OPERATOR_CONTAINS: _ClassVar[StatOperator]
    STAT_OPERATOR_CONTAINS_IGNORING_CASE: _ClassVar[StatOperator]
    STAT_OPERATOR_STARTS_WITH: _ClassVar[StatOperator]
    STAT_OPERATOR_STARTS_WITH_IGNORING_CASE: _ClassVar[StatOperator]
    STAT_OPERATOR_ENDS_WITH: _ClassVar[StatOperator]
    STAT_OPERATOR_ENDS_WITH_IGNORING_CASE: _ClassVar[StatOperator]
    STAT_OPERATOR_EXISTS: _ClassVar[StatOperator]
    STAT_OPERATOR_SIZE: _ClassVar[StatOperator]
STAT_OPERATOR_UNSPECIFIED: StatOperator
STAT_OPERATOR_EQUAL: StatOperator
STAT_OPERATOR_EQUAL_IGNORING_CASE: StatOperator
STAT_OPERATOR_GREATER: StatOperator
STAT_OPERATOR_GREATER_OR_EQUAL: StatOperator
STAT_OPERATOR_LESS: StatOperator
STAT_OPERATOR_LESS_OR_EQUAL: StatOperator
STAT_OPERATOR_IN: StatOperator
STAT_OPERATOR_ALL: StatOperator
STAT_OPERATOR_CONTAINS: StatOperator
STAT_OPERATOR_CONTAINS_IGNORING_CASE: StatOperator
STAT_OPERATOR_STARTS_WITH: StatOperator
STAT_OPERATOR_STARTS_WITH_IGNORING_CASE: StatOperator
STAT_OPERATOR_ENDS_WITH: StatOperator
STAT_OPERATOR_ENDS_WITH_IGNORING_CASE: StatOperator
STAT_OPERATOR_EXISTS: StatOperator
STAT_OPERATOR_SIZE: StatOperator

class Stat(_message.Message):
    __slots__ = ("id", "uuid", "organization", "anr_number", "anr_uuid", "type", "day", "week", "month", "quarter", "year", "data", "create_time", "update_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    UUID_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_FIELD_NUMBER: _ClassVar[int]
    ANR_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ANR_UUID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    WEEK_FIELD_NUMBER: _ClassVar[int]
    MONTH_FIELD_NUMBER: _ClassVar[int]
    QUARTER_FIELD_NUMBER: _ClassVar[int]
    YEAR_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    uuid: str
    organization: str
    anr_number: int
    anr_uuid: str
    type: str
    day: int
    week: int
    month: int
    quarter: int
    year: int
    data: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., uuid: _Optional[str] = ..., organization: _Optional[str] = ..., anr_number: _Optional[int] = ..., anr_uuid: _Optional[str] = ..., type: _Optional[str] = ..., day: _Optional[int] = ..., week: _Optional[int] = ..., month: _Optional[int] = ..., quarter: _Optional[int] = ..., year: _Optional[int] = ..., data: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("stats",)
    STATS_FIELD_NUMBER: _ClassVar[int]
    stats: _containers.RepeatedCompositeFieldContainer[Stat]
    def __init__(self, stats: _Optional[_Iterable[_Union[Stat, _Mapping]]] = ...) -> None: ...

class WriteResponse(_message.Message):
    __slots__ = ("written", "existing")
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    written: int
    existing: int
    def __init__(self, written: _Optional[int] = ..., existing: _Optional[int] = ...) -> None: ...

class StatValue(_message.Message):
    __slots__ = ("text", "integer", "number", "truth", "missing")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TRUTH_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    text: str
    integer: int
    number: float
    truth: bool
    missing: bool
    def __init__(self, text: _Optional[str] = ..., integer: _Optional[int] = ..., number: _Optional[float] = ..., truth: _Optional[bool] = ..., missing: _Optional[bool] = ...) -> None: ...

class StatFilter(_message.Message):
    __slots__ = ("field", "path", "operator", "negated", "values")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    NEGATED_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    field: str
    path: _containers.RepeatedScalarFieldContainer[str]
    operator: StatOperator
    negated: bool
    values: _containers.RepeatedCompositeFieldContainer[StatValue]
    def __init__(self, field: _Optional[str] = ..., path: _Optional[_Iterable[str]] = ..., operator: _Optional[_Union[StatOperator, str]] = ..., negated: _Optional[bool] = ..., values: _Optional[_Iterable[_Union[StatValue, _Mapping]]] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("filters", "order_by", "page_size", "page_token")
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filters: _containers.RepeatedCompositeFieldContainer[StatFilter]
    order_by: str
    page_size: int
    page_token: str
    def __init__(self, filters: _Optional[_Iterable[_Union[StatFilter, _Mapping]]] = ..., order_by: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class QueryResponse(_message.Message):
    __slots__ = ("stats", "next_page_token")
    STATS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    stats: _containers.RepeatedCompositeFieldContainer[Stat]
    next_page_token: str
    def __init__(self, stats: _Optional[_Iterable[_Union[Stat, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetStatRequest(_message.Message):
    __slots__ = ("stat_id",)
    STAT_ID_FIELD_NUMBER: _ClassVar[int]
    stat_id: str
    def __init__(self, stat_id: _Optional[str] = ...) -> None: ...

class UpdateStatRequest(_message.Message):
    __slots__ = ("stat", "update_mask")
    STAT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    stat: Stat
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, stat: _Optional[_Union[Stat, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class DeleteStatRequest(_message.Message):
    __slots__ = ("stat_id",)
    STAT_ID_FIELD_NUMBER: _ClassVar[int]
    stat_id: str
    def __init__(self, stat_id: _Optional[str] = ...) -> None: ...

class PurgeStatsRequest(_message.Message):
    __slots__ = ("before_time", "filters")
    BEFORE_TIME_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    before_time: _timestamp_pb2.Timestamp
    filters: _containers.RepeatedCompositeFieldContainer[StatFilter]
    def __init__(self, before_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., filters: _Optional[_Iterable[_Union[StatFilter, _Mapping]]] = ...) -> None: ...

class PurgeStatsResponse(_message.Message):
    __slots__ = ("deleted", "has_more")
    DELETED_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    has_more: bool
    def __init__(self, deleted: _Optional[int] = ..., has_more: _Optional[bool] = ...) -> None: ...
