"""What a rule holds, what may be given for it, and its JSON document."""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from server.core import targets
from server.core.errors import Fault, FaultKind
from server.core.organizations import is_one_line
from server.core.targets import Target

MIN_NAME = 3  # characters
MAX_NAME = 255
MAX_ID = 255
MAX_DESCRIPTION = 10_000  # characters
MAX_DIRECTIVES = 10_000
MAX_TAGS = 100
MAX_BYTES = 1024 * 1024  # of a rule as a JSON document
_JOINERS = dict.fromkeys(map(ord, "\u200c\u200d"))  # What Persian, Indic scripts and emoji are written with.


class Tag(NamedTuple):
    """A tag."""

    key: str
    value: str


class Rule(NamedTuple):
    """A rule: which directives apply to which targets."""

    id: str  # unique within the organization, and never changed
    display_name: str  # unique within the organization
    short_description: str
    long_description: str
    directives: tuple[str, ...]  # ids; a set, in the order in which they were given
    targets: tuple[Target, ...]  # a set as well
    tags: tuple[Tag, ...]  # and this
    enabled: bool
    etag: str  # another one after each change, also if a rule is deleted and made again
    create_time: int  # microseconds since 1970
    update_time: int  # microseconds since 1970

    def document(self) -> str:
        """Return the rule as the rudder API documents it, in compact JSON, with `tags` only if it has some."""
        members = {
            "id": self.id,
            "displayName": self.display_name,
            "shortDescription": self.short_description,
            "longDescription": self.long_description,
            "directives": self.directives,
            "targets": self.targets,
            "enabled": self.enabled,
            "system": False,  # The house has no rules of its own.
        }
        if self.tags:
            members["tags"] = [{key: value} for key, value in self.tags]
        return orjson.dumps(members).decode()


class Given(NamedTuple):
    """The fields of a rule that a request gives; None is not given. Targets are as their JSON says."""

    display_name: str | None = None
    short_description: str | None = None
    long_description: str | None = None
    directives: tuple[str, ...] | None = None
    targets: tuple[Any, ...] | None = None
    tags: tuple[Tag, ...] | None = None
    enabled: bool | None = None

    @property
    def is_only_named(self) -> bool:
        """Whether the display name is all that is given."""
        return all(value is None for value in self[1:])


FIELDS = Given._fields
_SETS = ("directives", "targets", "tags")


def rule_of(document: str, *, etag: str, create_time: int, update_time: int) -> Rule:
    """Return the rule that a document says."""
    said = orjson.loads(document)
    return Rule(
        said["id"],
        said["displayName"],
        said["shortDescription"],
        said["longDescription"],
        tuple(said["directives"]),
        tuple(said["targets"]),
        tuple(Tag(*pair) for one in said.get("tags", ()) for pair in one.items()),
        said["enabled"],
        etag,
        create_time,
        update_time,
    )


def fields_of(rule: Rule) -> dict[str, Any]:
    """Return the fields that can be changed, as events hold them."""
    return {name: getattr(rule, name) for name in FIELDS} | {"tags": [tag._asdict() for tag in rule.tags]}


def difference(before: Rule, after: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields in which two rules differ: as they are in the one, and in the other."""
    old, new = fields_of(before), fields_of(after)
    names = [name for name in FIELDS if old[name] != new[name]]
    return {name: old[name] for name in names}, {name: new[name] for name in names}


def changed(rule: Rule, given: Given) -> Rule:
    """Return the rule with what is given. Sets whose members are the same stay as they are."""
    values = {name: value for name, value in given._asdict().items() if value is not None}
    for name in _SETS:
        if name in values and _members(values[name]) == _members(getattr(rule, name)):
            del values[name]
    return rule._replace(**values)


def checked(given: Given) -> tuple[Given, list[Fault]]:
    """Return what is given with each member of a set once, and what is wrong with it, by paths such as "rule.tags"."""
    faults = list(_faults(given))
    clean = given
    if given.directives is not None:
        clean = clean._replace(directives=tuple(dict.fromkeys(given.directives)))
    if given.tags is not None:
        clean = clean._replace(tags=tuple(dict.fromkeys(given.tags)))
    if given.targets is not None:
        found, more = targets.read(given.targets, "rule.targets")
        faults += more
        clean = clean._replace(targets=found)
    return clean, faults


def id_faults(rule_id: str) -> list[Fault]:
    """Return what is wrong with an id that somebody wants for a new rule."""
    is_line = 1 <= len(rule_id) <= MAX_ID and rule_id.isprintable() and rule_id == rule_id.strip()
    if not is_line or rule_id in (".", "..") or not {"/", "\\"}.isdisjoint(rule_id):
        rule = (
            f'must be 1 to {MAX_ID} printable characters without "/" and "\\" and without blanks around them, '
            'and neither "." nor ".."'
        )
        return [Fault("rule.id", rule)]
    return []


def name_faults(name: str, path: str) -> list[Fault]:
    """Return what is wrong with the name of a rule or a change request."""
    if len(name) < MIN_NAME:
        return [Fault(path, f"must have at least {MIN_NAME} characters", FaultKind.TOO_SHORT)]
    is_seen = all(unicodedata.category(character) != "Cf" for character in name.translate(_JOINERS))
    if len(name) > MAX_NAME or not is_one_line(name) or not is_seen:
        return [Fault(path, f"must have at most {MAX_NAME} characters, and no control or invisible characters")]
    if not comparable(name):
        return [Fault(path, "must not be blank")]
    return []


def comparable(name: str) -> str:
    """Return what two names have in common that people take for the same, however they are composed."""
    return unicodedata.normalize("NFC", name.translate(_JOINERS)).strip()


def text_faults(text: str, path: str) -> list[Fault]:
    """Return what is wrong with a description or a reason, which may have several lines."""
    is_text = all(character in "\t\n\r" or unicodedata.category(character) not in ("Cc", "Cs") for character in text)
    if len(text) > MAX_DESCRIPTION or not is_text:
        rule = f"must have at most {MAX_DESCRIPTION} characters, and no control characters but tabs and line ends"
        return [Fault(path, rule)]
    return []


def _faults(given: Given) -> Iterator[Fault]:
    if given.display_name is not None:
        yield from name_faults(given.display_name, "rule.display_name")
    for name in ("short_description", "long_description"):
        yield from text_faults(getattr(given, name) or "", f"rule.{name}")
    directives, tags = given.directives or (), given.tags or ()
    if len(directives) > MAX_DIRECTIVES:
        yield Fault("rule.directives", f"must be at most {MAX_DIRECTIVES}")
    for number, directive in enumerate(directives):
        if not _is_short(directive):
            rule = f"must have 1 to {MAX_ID} characters, and no control characters"
            yield Fault(f"rule.directives[{number}]", rule)
    if len(tags) > MAX_TAGS:
        yield Fault("rule.tags", f"must be at most {MAX_TAGS}")
    for number, (key, value) in enumerate(tags):
        if not _is_short(key) or not (_is_short(value) or not value):
            rule = f"must have a key of 1 to {MAX_ID} characters and a value of at most as many, no control characters"
            yield Fault(f"rule.tags[{number}]", rule)


def _is_short(text: str) -> bool:
    return 1 <= len(text) <= MAX_ID and is_one_line(text)


def _members(values: Iterable[Any]) -> set[Any]:
    return {targets.key(value) if isinstance(value, dict) else value for value in values}
