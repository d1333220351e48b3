"""`make bench`: every figure that README names, measured on this machine. `python -m tests.bench [NAME …]`."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import (
    bulk_insert,
    events,
    fetch,
    results_page,
    rules,
    start,
    stats,
    streams,
    table,
    task_status,
    two_servers,
    upload_stream,
    work,
)

BENCHES: dict[str, Callable[[Path], None]] = {
    "start": start.measure,
    "results_page": results_page.measure,
    "bulk_insert": bulk_insert.measure,
    "upload_stream": upload_stream.measure,
    "two_servers": two_servers.measure,
    "task_status": task_status.measure,
    "streams": streams.measure,
    "fetch": fetch.measure,
    "rules": rules.measure,
    "stats": stats.measure,
    "events": events.measure,
}
WITH_NPM: dict[str, Callable[[Path], None]] = {"work": work.measure}
"""These run only if they are named."""


def main(names: list[str]) -> None:
    """Run the benches of these names, or all that need nothing but wheels."""
    known = BENCHES | WITH_NPM
    if unknown := set(names) - set(known):
        sys.exit(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    table.head()
    for name in names or BENCHES:
        with tempfile.TemporaryDirectory() as folder:
            known[name](Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
