"""Holds the path that the caller sent against the fields that the transcoder made of it.

A query parameter can override a path field in Envoy's transcoder, through more spellings than can be listed at the
edge. So every call that came through it is checked here, on the decoded message.
"""

import re
from collections.abc import Callable
from functools import reduce
from urllib.parse import unquote_to_bytes

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from server.core.errors import PathFieldOverridden

_FIELD = re.compile(r"\{([^}=]+)(?:=([^}]*))?\}")
_RESERVED = re.compile("%(?=2[1346-9abcf]|3[abdf]|40|5[bd])", re.IGNORECASE)
"""The escapes that the edge leaves in fields of several segments."""
Check = Callable[[str, Message], None]


def check_for(method: MethodDescriptor) -> Check | None:
    """Return what refuses a message whose path-bound fields are not those of the path; None if its paths have none."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    templates = [template for template in map(template_of, (rule, *rule.additional_bindings)) if template]
    if not any("{" in template for template in templates):
        return None
    patterns = [(_pattern(template), fields_of(template)) for template in templates]

    def check(original: str, message: Message) -> None:
        path = path_of(original)
        wrong = ""
        for pattern, fields in patterns:
            if match := pattern.fullmatch(path):
                different = [f for f, text in zip(fields, match.groups(""), strict=True) if not _same(message, f, text)]
                if not different:
                    return
                wrong = different[0]
        raise PathFieldOverridden(wrong or "path")

    return check


def path_of(original: str) -> str:
    """Return the path of what the caller asked for, read as the edge reads it: `//` is `/`, and %2F stays."""
    return re.sub("/{2,}", "/", original.split("?", 1)[0])


def fields_of(template: str) -> list[str]:
    """Return the fields that a path's template binds, in its order."""
    return [field for field, _ in _FIELD.findall(template)]


def template_of(rule: http_pb2.HttpRule) -> str:
    """Return the path's template; empty for a method without one."""
    pattern = rule.WhichOneof("pattern")
    return rule.custom.path if pattern == "custom" else getattr(rule, pattern) if pattern else ""


def _pattern(template: str) -> re.Pattern[str]:
    parts: list[str] = []
    end = 0
    for found in _FIELD.finditer(template):
        literal = re.escape(template[end : found.start()])
        if found.group(2) == "**":  # It may be nothing, with or without the slash before.
            parts += literal.removesuffix("/"), "(?:/(.*))?"
        else:
            parts += literal, "([^/]*)"
        end = found.end()
    parts.append(re.escape(template[end:]))
    return re.compile("".join(parts) + "/?")


def _same(message: Message, field: str, text: str) -> bool:
    value = str(reduce(getattr, field.split("."), message)).encode().strip(b"/")
    readings = text, _RESERVED.sub("%25", text)
    return any(value == unquote_to_bytes(one).strip(b"/") for one in readings)
