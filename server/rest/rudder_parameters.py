"""The parameters of the rudder API: in the query, in a form of either kind, or embedded in JSON.

They do not mix. Where a body is JSON, the fields of a rule or of a change request are read from it alone; the general
parameters never are: those stand in the query or in a form.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from google.api import httpbody_pb2

from server.core import errors, exactjson
from server.core.exactjson import MalformedJson
from server.core.rule_content import Given, Tag
from server.rest.exchange import BodyBroken, EncodingUnknown, QueryBroken, body_of, media_type, pairs_of, query_text
from server.rest.multipart import MULTIPART, FormBroken, fields_of
from server.rest.rudder_door import NOT_UTF8, BadValue, Complaint

MAX_BODY = 1024 * 1024  # bytes, as sent and as inflated
MAX_PARAMETERS = 20_000
NO_JSON = "No Json data sent"
_CHARSETS = ("utf-8", "utf8", "us-ascii")
_FORM = "application/x-www-form-urlencoded"
_TEXTS = {
    "displayName": "display_name",
    "shortDescription": "short_description",
    "longDescription": "long_description",
}


@dataclass(frozen=True)
class Parameters:
    """What a call was given."""

    pairs: Mapping[str, list[str]]  # of the query and the form
    members: Mapping[str, Any] | None = None  # of the JSON object; None: there is none

    def general(self, key: str) -> list[str]:
        """Return the values of a general parameter, of which there should be at most one."""
        return self.pairs.get(key, [])

    def text(self, key: str, *, also_in_query: bool = False) -> str | None:
        """Return a parameter of one value; None if it is not given. Raises BadValue.

        `also_in_query`: it may stand there beside JSON, too.
        """
        if self.members is not None and key in self.members:
            value = self.members[key]
            if not isinstance(value, str):
                raise _not_good(key)
            return value
        return self._single(key) if self.members is None or also_in_query else None

    def rule(self) -> Given:
        """Return the fields of a rule. Raises BadValue."""
        texts = {name: self.text(key) for key, name in _TEXTS.items()}
        return Given(
            **texts,
            directives=self._directives(),
            targets=self._targets(),
            tags=self._tags(),
            enabled=self._enabled(),
        )

    def _enabled(self) -> bool | None:
        if self.members is None:
            text = self._single("enabled")
            if text not in (None, "true", "false"):
                told = errors.cut(text, errors.MAX_VALUE)
                raise BadValue(f"value for boolean should be true or false instead of {told}")
            return None if text is None else text == "true"
        enabled = self.members.get("enabled")
        if "enabled" in self.members and not isinstance(enabled, bool):
            raise _not_good("enabled")
        return enabled

    def _directives(self) -> tuple[str, ...] | None:
        found = self._list("directives")
        if found is None or all(isinstance(one, str) for one in found):
            return found
        raise _not_good("directives")

    def _targets(self) -> tuple[Any, ...] | None:
        found = self._list("targets")
        if found is None or all(isinstance(one, str | dict) for one in found):
            return found
        raise _not_good("targets")

    def _tags(self) -> tuple[Tag, ...] | None:
        found = self._list("tags")
        if found is None:
            return None
        tags: list[Tag] = []
        for one in found:
            if isinstance(one, str) and self.members is None:
                tags.append(Tag(*one.split(":", 1)) if ":" in one else Tag(one, ""))
            elif isinstance(one, dict) and all(isinstance(value, str) for value in one.values()):
                tags += map(Tag._make, one.items())
            else:
                raise _not_good("tags")
        return tuple(tags)

    def _list(self, key: str) -> tuple[Any, ...] | None:
        """Return a parameter of several values; an empty one clears the list."""
        if self.members is not None:
            if key not in self.members:
                return None
            given = self.members[key]
            return tuple(given if isinstance(given, list) else (given,))
        if key not in self.pairs:
            return None
        values: list[Any] = []
        for text in filter(None, self.pairs[key]):
            value = _embedded(key, text)
            values += value if isinstance(value, list) else [value]
        return tuple(values)

    def _single(self, key: str) -> str | None:
        values = self.pairs.get(key, [])
        if len(values) > 1:
            raise BadValue(repeated(key))
        return values[0] if values else None


NOTHING = Parameters({})


def repeated(key: str) -> str:
    """Return what is said of a parameter that has several values and should have one."""
    return f"updateRule should contain only one value for {key}"


def read(sent: httpbody_pb2.HttpBody, headers: Mapping[str, str]) -> Parameters:
    """Read the parameters of a call. Raises Complaint, TooLarge."""
    query = query_text(headers)
    if not query and not sent.data:
        return NOTHING
    kind = media_type(sent.content_type)
    is_json, is_form = kind.name in ("application/json", "text/json"), kind.name == _FORM
    texts = [query]
    fields: list[tuple[str, str]] = []
    members = None
    try:
        if (is_json or is_form) and kind.parameters.get("charset", "utf-8").lower() not in _CHARSETS:
            raise Complaint("The body must be UTF-8, and its content type must not say otherwise.")
        if is_json:
            members = _members(body_of(sent, headers, max_bytes=MAX_BODY).decode())
        elif is_form:
            texts.append(body_of(sent, headers, max_bytes=MAX_BODY).decode())
        elif kind.name == MULTIPART and sent.data:
            body = body_of(sent, headers, max_bytes=MAX_BODY)
            fields = fields_of(body, kind.parameters.get("boundary", ""), most=MAX_PARAMETERS)
        return Parameters(_pairs(texts, fields), members)
    except (QueryBroken, UnicodeDecodeError) as error:
        raise Complaint(f"{NO_JSON}: it is not UTF-8." if is_json else NOT_UTF8) from error
    except EncodingUnknown as error:
        raise Complaint("The content encoding is not supported.") from error
    except BodyBroken as error:
        raise Complaint("The body is not what its content encoding says.") from error
    except FormBroken as error:
        raise Complaint(f"The body is not a form of texts: {error}.") from error


def _pairs(texts: list[str], fields: list[tuple[str, str]]) -> Mapping[str, list[str]]:
    if len(fields) + sum(text.count("&") for text in texts) > MAX_PARAMETERS:
        raise Complaint(f"There are more than {MAX_PARAMETERS} parameters.")
    pairs: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in chain(*map(pairs_of, texts), fields):
        pairs[name].append(value)
    return pairs


def _members(text: str) -> Mapping[str, Any]:
    """Return the members of the object that the text holds; none if it is empty.

    The document's own curl line sends `<json>&reason=…`: what follows an ampersand is not read.
    """
    if not text.strip():
        return {}
    try:
        value, rest = exactjson.read_first(text)
    except MalformedJson as malformed:
        raise Complaint(f"{NO_JSON}: {malformed}" if malformed.args else NO_JSON) from malformed
    if not isinstance(value, dict) or (rest and not rest.startswith("&")):
        raise Complaint(NO_JSON)
    return value


def _embedded(key: str, text: str) -> Any:
    """Return a value of a list, which some clients write as JSON: targets that are objects, and whole lists.

    Raises BadValue for what begins as JSON and is none: taken as it is, it would replace what the rule has.
    """
    if text[0] not in "[{":
        return text
    try:
        return exactjson.read(text)
    except MalformedJson as malformed:
        raise _not_good(key) from malformed


def _not_good(key: str) -> BadValue:
    return BadValue(f"Not a good value for parameter {key}")
