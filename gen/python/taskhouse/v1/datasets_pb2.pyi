import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from taskhouse.v1 import results_pb2 as _results_pb2
from taskhouse.v1 import work_pb2 as _work_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ColumnType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COLUMN_TYPE_UNSPECIFIED: _ClassVar[ColumnType]
    COLUMN_TYPE_INTEGER: _ClassVar[ColumnType]
    COLUMN_TYPE_BIGINT: _ClassVar[ColumnType]
    COLUMN_TYPE_FLOAT: _ClassVar[ColumnType]
    COLUMN_TYPE_DOUBLE: _ClassVar[ColumnType]
    COLUMN_TYPE_BOOLEAN: _ClassVar[ColumnType]
    COLUMN_TYPE_TEXT: _ClassVar[ColumnType]
COLUMN_TYPE_UNSPECIFIED: ColumnType
COLUMN_TYPE_INTEGER: ColumnType
COLUMN_TYPE_BIGINT: ColumnType
COLUMN_TYPE_FLOAT: ColumnType
COLUMN_TYPE_DOUBLE: ColumnType
COLUMN_TYPE_BOOLEAN: ColumnType
COLUMN_TYPE_TEXT: ColumnType

class Dataset(_message.Message):
    __slots__ = ("name", "columns", "buckets_per_user", "version", "create_time", "budget")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_PER_USER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    name: str
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    buckets_per_user: int
    version: int
    create_time: _timestamp_pb2.Timestamp
    budget: Budget
    def __init__(self, name: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., buckets_per_user: _Optional[int] = ..., version: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("epsilon", "spent_epsilon", "spent_delta")
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    SPENT_EPSILON_FIELD_NUMBER: _ClassVar[int]
    SPENT_DELTA_FIELD_NUMBER: _ClassVar[int]
    epsilon: float
    spent_epsilon: float
    spent_delta: float
    def __init__(self, epsilon: _Optional[float] = ..., spent_epsilon: _Optional[float] = ..., spent_delta: _Optional[float] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "type", "nullable")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NULLABLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: ColumnType
    nullable: bool
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[ColumnType, str]] = ..., nullable: _Optional[bool] = ...) -> None: ...

class CreateDatasetRequest(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class GetDatasetRequest(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    def __init__(self, dataset: _Optional[str] = ...) -> None: ...

class ListDatasetsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDatasetsResponse(_message.Message):
    __slots__ = ("datasets", "next_page_token")
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedCompositeFieldContainer[Dataset]
    next_page_token: str
    def __init__(self, datasets: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UploadRequest(_message.Message):
    __slots__ = ("start", "rows")
    START_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    start: UploadStart
    rows: UploadRows
    def __init__(self, start: _Optional[_Union[UploadStart, _Mapping]] = ..., rows: _Optional[_Union[UploadRows, _Mapping]] = ...) -> None: ...

class UploadStart(_message.Message):
    __slots__ = ("dataset", "upload_id")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    upload_id: str
    def __init__(self, dataset: _Optional[str] = ..., upload_id: _Optional[str] = ...) -> None: ...

class UploadRows(_message.Message):
    __slots__ = ("first_row", "rows")
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    first_row: int
    rows: _containers.RepeatedCompositeFieldContainer[UploadRow]
    def __init__(self, first_row: _Optional[int] = ..., rows: _Optional[_Iterable[_Union[UploadRow, _Mapping]]] = ...) -> None: ...

class UploadRow(_message.Message):
    __slots__ = ("user", "data")
    USER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    user: str
    data: str
    def __init__(self, user: _Optional[str] = ..., data: _Optional[str] = ...) -> None: ...

class Upload(_message.Message):
    __slots__ = ("id", "dataset", "acknowledged_rows", "create_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_ROWS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    dataset: str
    acknowledged_rows: int
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., dataset: _Optional[str] = ..., acknowledged_rows: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetUploadRequest(_message.Message):
    __slots__ = ("upload_id",)
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    def __init__(self, upload_id: _Optional[str] = ...) -> None: ...

class EraseUserRequest(_message.Message):
    __slots__ = ("dataset", "user")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    user: str
    def __init__(self, dataset: _Optional[str] = ..., user: _Optional[str] = ...) -> None: ...

class CountUsersRequest(_message.Message):
    __slots__ = ("dataset", "column", "bin_width", "lease", "categories", "where")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    BIN_WIDTH_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    column: str
    bin_width: str
    lease: _work_pb2.LeaseName
    categories: str
    where: str
    def __init__(self, dataset: _Optional[str] = ..., column: _Optional[str] = ..., bin_width: _Optional[str] = ..., lease: _Optional[_Union[_work_pb2.LeaseName, _Mapping]] = ..., categories: _Optional[str] = ..., where: _Optional[str] = ...) -> None: ...

class CountUsersResponse(_message.Message):
    __slots__ = ("buckets", "epsilon", "delta", "exceptions")
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    EXCEPTIONS_FIELD_NUMBER: _ClassVar[int]
    buckets: _containers.RepeatedCompositeFieldContainer[_results_pb2.Bucket]
    epsilon: float
    delta: float
    exceptions: _containers.RepeatedCompositeFieldContainer[_results_pb2.ExceptionCount]
    def __init__(self, buckets: _Optional[_Iterable[_Union[_results_pb2.Bucket, _Mapping]]] = ..., epsilon: _Optional[float] = ..., delta: _Optional[float] = ..., exceptions: _Optional[_Iterable[_Union[_results_pb2.ExceptionCount, _Mapping]]] = ...) -> None: ...

class SetBudgetRequest(_message.Message):
    __slots__ = ("organization", "dataset", "epsilon")
    ORGANIZATION_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    organization: str
    dataset: str
    epsilon: float
    def __init__(self, organization: _Optional[str] = ..., dataset: _Optional[str] = ..., epsilon: _Optional[float] = ...) -> None: ...
