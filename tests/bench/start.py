"""How long `taskhouse up` takes on existing data, from the command to its ready line."""

import time
from pathlib import Path

from tests.bench.house import running
from tests.bench.table import row, spread

STARTS = 5


def measure(folder: Path) -> None:
    """Print the median."""
    data = folder / "started"
    with running(data):
        pass
    row("`up` on existing data", spread([seconds(data) for _ in range(STARTS)], "{:.1f} s"), aim="at most 5 s")


def seconds(data: Path) -> float:
    """Return how long one start takes."""
    began = time.perf_counter()
    with running(data):
        return time.perf_counter() - began
