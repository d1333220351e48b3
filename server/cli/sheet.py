"""Files of declarations (YAML), read strictly: whatever is not understood is a fault of its line."""

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TypeVar

import click
import yaml

from server.core.errors import Fault

TEXT = "tag:yaml.org,2002:str"
WHOLE_NUMBER = "tag:yaml.org,2002:int"
BOOLEAN = "tag:yaml.org,2002:bool"
_WRITTEN = {
    TEXT: re.compile(".*", re.DOTALL),
    WHOLE_NUMBER: re.compile("[0-9]{1,9}"),
    BOOLEAN: re.compile("true|false"),
}
_MUST_BE = {
    TEXT: "must be text; put it in quotes",
    WHOLE_NUMBER: "must be a whole number",
    BOOLEAN: "must be true or false",
}

E = TypeVar("E", bound=Enum)


class Sheet:
    """A file that is being read. Faults are collected, each with the path of its field; `done` tells the first."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: dict[str, int] = {"": 1}
        self._faults: list[Fault] = []

    def top(self, part: str) -> Iterator[tuple[yaml.Node, str]]:
        """Read the file and give the items of its only part, a list. Raises click.ClickException if it is no YAML."""
        try:
            root = yaml.compose(self._file.read_bytes(), Loader=yaml.SafeLoader)
        except OSError as error:
            raise click.ClickException(f"cannot read {self._file}: {error.strerror}") from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise click.ClickException(f"{self._file}:{line}: not YAML: {error.problem}") from error
        except (yaml.YAMLError, RecursionError) as error:
            raise click.ClickException(f"{self._file}: not YAML: {error}") from error
        parts = self.mapping(root, "", required=(part,))
        return self.items(parts.get(part), part)

    def mapping(
        self, node: yaml.Node | None, path: str, *, required: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> dict[str, yaml.Node]:
        """Return the parts of a mapping that may have these and no others."""
        if not isinstance(node, yaml.MappingNode):
            self.wrong(path, f"must have the parts {', '.join(required)}")
            return {}
        parts: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            field = f"{path}.{name}" if path else name
            known = name in required or name in optional
            if not known or name in parts:
                self.at(field, key)
                known_parts = ", ".join((*required, *optional))
                self.wrong(field, "stands twice" if known else f"is unknown here; known: {known_parts}")
                continue
            self.at(field, value)
            parts[name] = value
        for name in required:
            if name not in parts:
                self.wrong(f"{path}.{name}" if path else name, "is missing")
        return parts

    def entries(self, node: yaml.Node | None, path: str) -> Iterator[tuple[str, yaml.Node]]:
        """Give the keys and values of a mapping whose keys are the file's own choice."""
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            self.wrong(path, "must have keys and values")
            return
        for number, (key, value) in enumerate(node.value):
            self.at(f"{path}[{number}]", key)
            yield self.scalar(key, f"{path}[{number}]", TEXT) or "", value

    def items(self, node: yaml.Node | None, path: str) -> Iterator[tuple[yaml.Node, str]]:
        """Give the items of a list, each with its path; none if it is missing."""
        if node is None:
            return
        if not isinstance(node, yaml.SequenceNode):
            self.wrong(path, "must be a list")
            return
        self.at(path, node)
        for number, item in enumerate(node.value):
            self.at(f"{path}[{number}]", item)
            yield item, f"{path}[{number}]"

    def scalar(self, node: yaml.Node | None, path: str, tag: str) -> str | None:
        """Return a value as it is written; None if it is missing or of another kind."""
        if node is None:
            return None
        if isinstance(node, yaml.ScalarNode) and node.tag == tag and _WRITTEN[tag].fullmatch(node.value):
            return str(node.value)
        self.wrong(path, _MUST_BE[tag])
        return None

    def choice(self, node: yaml.Node | None, path: str, choices: type[E]) -> E | None:
        """Return the member of an enum whose value is written; None if it is missing or there is no such one."""
        written = self.scalar(node, path, TEXT)
        known = {one.value: one for one in choices}
        if written is not None and written not in known:
            name = path.rpartition(".")[2]
            self.wrong(path, f'unknown {name} "{written}"; known: {", ".join(known)}')
        return known.get(written)

    def at(self, path: str, node: yaml.Node) -> None:
        """Note the line of a field."""
        self._lines[path] = node.start_mark.line + 1

    def wrong(self, path: str, description: str) -> None:
        """Note a fault."""
        self._faults.append(Fault(path, description))

    def done(self, faults: Sequence[Fault] = ()) -> None:
        """Raise click.ClickException if faults were noted or, else, if there are these: one line on the first."""
        found = self._faults or faults
        if found:
            first = min(found, key=lambda fault: self._line(fault.field))
            others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise self.fault(first.field, first.description + others)

    def fault(self, field: str, description: str) -> click.ClickException:
        """Return what is told of a fault in a field: its file, line, path and text."""
        where = f"{field}: " if field else ""
        return click.ClickException(f"{self._file}:{self._line(field)}: {where}{description}")

    def _line(self, field: str) -> int:
        while field not in self._lines:  # A missing field is where the one around it is.
            field = re.sub(r"(\.|^)?[^.\[]+$|\[[0-9]+\]$", "", field)
        return self._lines[field]
