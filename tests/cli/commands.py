"""Runs `taskhouse …` in this process."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from server.cli.main import run

BOTH = pytest.mark.parametrize("engine", ["sqlite", "postgresql"])


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def items(self) -> list[dict[str, Any]]:
        """What `--json` printed."""
        assert self.code == 0, self.err
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def told(self) -> str:
        """The one line that says what went wrong."""
        assert self.code != 0
        assert self.out == ""
        [line] = self.err.splitlines()
        assert line.startswith("taskhouse: ")
        return line.removeprefix("taskhouse: ")


class Commands:
    """Commands on the house in `data`."""

    def __init__(self, data: Path, captured: pytest.CaptureFixture[str]) -> None:
        self.data = data
        self._captured = captured

    def __call__(self, *arguments: str, data: Path | None = None) -> Done:
        code = run([*arguments, "--data", str(data or self.data)])
        out, err = self._captured.readouterr()
        return Done(code, out, err)

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a command with `--json` and return what it printed."""
        return self(*arguments, "--json").items
