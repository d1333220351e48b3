import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TargetOperator(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TARGET_OPERATOR_UNSPECIFIED: _ClassVar[TargetOperator]
    TARGET_OPERATOR_OR: _ClassVar[TargetOperator]
    TARGET_OPERATOR_AND: _ClassVar[TargetOperator]
TARGET_OPERATOR_UNSPECIFIED: TargetOperator
TARGET_OPERATOR_OR: TargetOperator
TARGET_OPERATOR_AND: TargetOperator

class Rule(_message.Message):
    __slots__ = ("id", "display_name", "short_description", "long_description", "directives", "targets", "tags", "enabled", "etag", "create_time", "update_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    SHORT_DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    LONG_DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    DIRECTIVES_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    display_name: str
    short_description: str
    long_description: str
    directives: _containers.RepeatedScalarFieldContainer[str]
    targets: _containers.RepeatedCompositeFieldContainer[Target]
    tags: _containers.RepeatedCompositeFieldContainer[Tag]
    enabled: bool
    etag: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., display_name: _Optional[str] = ..., short_description: _Optional[str] = ..., long_description: _Optional[str] = ..., directives: _Optional[_Iterable[str]] = ..., targets: _Optional[_Iterable[_Union[Target, _Mapping]]] = ..., tags: _Optional[_Iterable[_Union[Tag, _Mapping]]] = ..., enabled: _Optional[bool] = ..., etag: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Tag(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("simple", "composite")
    SIMPLE_FIELD_NUMBER: _ClassVar[int]
    COMPOSITE_FIELD_NUMBER: _ClassVar[int]
    simple: str
    composite: CompositeTarget
    def __init__(self, simple: _Optional[str] = ..., composite: _Optional[_Union[CompositeTarget, _Mapping]] = ...) -> None: ...

class CompositeTarget(_message.Message):
    __slots__ = ("include", "exclude")
    INCLUDE_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    include: TargetGroup
    exclude: TargetGroup
    def __init__(self, include: _Optional[_Union[TargetGroup, _Mapping]] = ..., exclude: _Optional[_Union[TargetGroup, _Mapping]] = ...) -> None: ...

class TargetGroup(_message.Message):
    __slots__ = ("operator", "members")
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    operator: TargetOperator
    members: _containers.RepeatedCompositeFieldContainer[TargetMember]
    def __init__(self, operator: _Optional[_Union[TargetOperator, str]] = ..., members: _Optional[_Iterable[_Union[TargetMember, _Mapping]]] = ...) -> None: ...

class TargetMember(_message.Message):
    __slots__ = ("simple", "group")
    SIMPLE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    simple: str
    group: TargetGroup
    def __init__(self, simple: _Optional[str] = ..., group: _Optional[_Union[TargetGroup, _Mapping]] = ...) -> None: ...

class CreateRuleRequest(_message.Message):
    __slots__ = ("rule", "source_rule_id", "reason")
    RULE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_RULE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    rule: Rule
    source_rule_id: str
    reason: str
    def __init__(self, rule: _Optional[_Union[Rule, _Mapping]] = ..., source_rule_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class GetRuleRequest(_message.Message):
    __slots__ = ("rule_id",)
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    rule_id: str
    def __init__(self, rule_id: _Optional[str] = ...) -> None: ...

class ListRulesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListRulesResponse(_message.Message):
    __slots__ = ("rules", "next_page_token")
    RULES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    next_page_token: str
    def __init__(self, rules: _Optional[_Iterable[_Union[Rule, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateRuleRequest(_message.Message):
    __slots__ = ("rule", "update_mask", "reason", "change_request_name", "change_request_description")
    RULE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHANGE_REQUEST_NAME_FIELD_NUMBER: _ClassVar[int]
    CHANGE_REQUEST_DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    rule: Rule
    update_mask: _field_mask_pb2.FieldMask
    reason: str
    change_request_name: str
    change_request_description: str
    def __init__(self, rule: _Optional[_Union[Rule, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., reason: _Optional[str] = ..., change_request_name: _Optional[str] = ..., change_request_description: _Optional[str] = ...) -> None: ...

class UpdateRuleResponse(_message.Message):
    __slots__ = ("rule", "change_request_id")
    RULE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    rule: Rule
    change_request_id: int
    def __init__(self, rule: _Optional[_Union[Rule, _Mapping]] = ..., change_request_id: _Optional[int] = ...) -> None: ...

class DeleteRuleRequest(_message.Message):
    __slots__ = ("rule_id", "etag", "reason", "change_request_name", "change_request_description")
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHANGE_REQUEST_NAME_FIELD_NUMBER: _ClassVar[int]
    CHANGE_REQUEST_DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    rule_id: str
    etag: str
    reason: str
    change_request_name: str
    change_request_description: str
    def __init__(self, rule_id: _Optional[str] = ..., etag: _Optional[str] = ..., reason: _Optional[str] = ..., change_request_name: _Optional[str] = ..., change_request_description: _Optional[str] = ...) -> None: ...

class DeleteRuleResponse(_message.Message):
    __slots__ = ("rule", "change_request_id")
    RULE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    rule: Rule
    change_request_id: int
    def __init__(self, rule: _Optional[_Union[Rule, _Mapping]] = ..., change_request_id: _Optional[int] = ...) -> None: ...
