"""The programs that the house is made of, and what befell its parts."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from difflib import get_close_matches

from server import edge
from server.doctor.findings import Finding
from server.journal import DAY_SECONDS, Entry
from server.settings import Settings

HOUR_SECONDS = 3600
MANY = 3  # deaths in an hour


def check_environment() -> Iterator[Finding]:
    """Look for variables that seem to be settings and are none. Of the file, whoever reads it is told."""
    prefix = Settings.model_config["env_prefix"]
    known = {name.upper() for name in Settings.model_fields}
    for name in sorted(os.environ):
        given = name.upper().removeprefix(prefix)
        if name.upper().startswith(prefix) and given not in known:
            meant = get_close_matches(given, known, n=1)
            instead = (
                f"; did you mean {prefix}{meant[0]}?"
                if meant
                else ", and see the README for the settings that there are"
            )
            yield Finding(
                "settings",
                f"{name} in the environment is no setting",
                "whatever it was meant to change is not changed",
                f"`unset {name}`{instead}",
            )


def check_envoy() -> Finding:
    """Look at Envoy's version."""
    try:
        return Finding("versions", f"Envoy {edge.dotted(edge.version(edge.find_envoy()))}")
    except (edge.EnvoyMissing, edge.EnvoyTooOld) as error:
        what, _, remedy = str(error).partition(": ")
        return Finding("versions", what, "the house cannot start", remedy)


def check_restarts(entries: list[Entry], *, runs: bool) -> Iterator[Finding]:
    """Look at what befell the parts within a day. `entries` are the journal's."""
    now = time.time()
    deaths: dict[str, list[Entry]] = {}
    down: set[str] = set()
    for entry in entries:
        if entry.event == "died":
            deaths.setdefault(entry.part, []).append(entry)
            down.add(entry.part)
        elif entry.event == "back":
            down.discard(entry.part)
        else:
            down.clear()
    for part, all_ in deaths.items():
        recent = [entry for entry in all_ if now - entry.time < DAY_SECONDS]
        if recent:
            often = sum(now - entry.time < HOUR_SECONDS for entry in recent) >= MANY
            yield _restarts(part, recent, is_down=runs and part in down, often=often)
    if not any(now - entry.time < DAY_SECONDS for all_ in deaths.values() for entry in all_):
        yield Finding("restarts", "no part of the house has died within a day")


def _restarts(part: str, recent: list[Entry], *, is_down: bool, often: bool) -> Finding:
    last = f"{datetime.fromtimestamp(recent[-1].time, UTC):%Y-%m-%d %H:%M:%SZ}: {recent[-1].text}"
    told = f"{part} died {len(recent)} time{'s' * (len(recent) > 1)} within a day, last {last}"
    remedy = "see the standard error of `taskhouse up`, and DIR/parts.log"
    if is_down:
        return Finding("restarts", f"{told}; it does not answer now", "what it does is not done meanwhile", remedy)
    if often:
        return Finding("restarts", f"{told}; it is back", "calls under way fail whenever it dies", remedy)
    return Finding("restarts", f"{told}; it is back")
