"""Rules, from messages to what the verbs take and back."""

from collections.abc import Iterable
from typing import Any

from server.core.errors import invalid
from server.core.rule_content import FIELDS, Given, Rule, Tag
from server.core.targets import Target
from server.services.times import timestamp
from taskhouse.v1 import rules_pb2 as pb

_OPERATORS = {pb.TARGET_OPERATOR_UNSPECIFIED: "or", pb.TARGET_OPERATOR_OR: "or", pb.TARGET_OPERATOR_AND: "and"}
_OPERATORS_TO_PROTO = {"or": pb.TARGET_OPERATOR_OR, "and": pb.TARGET_OPERATOR_AND}


def given_of(message: pb.Rule) -> Given:
    """Return what a new rule is given: what is not empty."""
    values = {name: value or None for name, value in _values(message).items()}
    return Given(**values)._replace(enabled=message.enabled if message.HasField("enabled") else None)


def changes_of(message: pb.Rule, paths: Iterable[str]) -> Given:
    """Return what the fields that a mask names are changed to. Raises InvalidFields."""
    names = set(paths)
    if not names or names - set(FIELDS):
        raise invalid("update_mask", f"must name some of {', '.join(FIELDS)}")
    if "enabled" in names and not message.HasField("enabled"):
        raise invalid("rule.enabled", "is required, as update_mask names it")
    values = _values(message)
    return Given(**{name: values[name] for name in names})


def rule_to_proto(rule: Rule) -> pb.Rule:
    """Render a rule; one without times gets none."""
    return pb.Rule(
        id=rule.id,
        display_name=rule.display_name,
        short_description=rule.short_description,
        long_description=rule.long_description,
        directives=rule.directives,
        targets=map(_target_to_proto, rule.targets),
        tags=[pb.Tag(key=tag.key, value=tag.value) for tag in rule.tags],
        enabled=rule.enabled,
        etag=rule.etag,
        create_time=timestamp(rule.create_time or None),
        update_time=timestamp(rule.update_time or None),
    )


def _values(message: pb.Rule) -> dict[str, Any]:
    return {
        "display_name": message.display_name,
        "short_description": message.short_description,
        "long_description": message.long_description,
        "directives": tuple(message.directives),
        "targets": tuple(map(_target, message.targets)),
        "tags": tuple(Tag(tag.key, tag.value) for tag in message.tags),
        "enabled": message.enabled,
    }


def _target(message: pb.Target) -> Any:
    """Return a target as its JSON says it; None if nothing is set."""
    if message.WhichOneof("kind") == "composite":
        parts = ("include", "exclude")
        return {name: _group(getattr(message.composite, name)) for name in parts}
    return message.simple if message.WhichOneof("kind") else None


def _group(message: pb.TargetGroup) -> dict[Any, Any]:
    return {_OPERATORS.get(message.operator): list(map(_member, message.members))}


def _member(message: pb.TargetMember) -> Any:
    return _group(message.group) if message.WhichOneof("kind") == "group" else message.simple


def _target_to_proto(target: Target) -> pb.Target:
    if isinstance(target, str):
        return pb.Target(simple=target)
    return pb.Target(composite=pb.CompositeTarget(**{name: _group_to_proto(part) for name, part in target.items()}))


def _group_to_proto(group: dict[str, list[Any]]) -> pb.TargetGroup:
    [(operator, members)] = group.items()
    return pb.TargetGroup(operator=_OPERATORS_TO_PROTO[operator], members=map(_member_to_proto, members))


def _member_to_proto(member: Any) -> pb.TargetMember:
    if isinstance(member, str):
        return pb.TargetMember(simple=member)
    return pb.TargetMember(group=_group_to_proto(member))
