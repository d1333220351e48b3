"""`make bench`: every figure that the README names, measured on this machine."""

import tempfile
from pathlib import Path

from tests.bench import bulk_insert, results_page, task_status, two_servers, upload_stream
from tests.bench.house import running, start_seconds

with tempfile.TemporaryDirectory() as temporary:
    folder = Path(temporary)
    with running(folder / "data"):
        pass
    starts = sorted(start_seconds(folder / "data") for _ in range(5))
    print(
        f"up on existing data: {starts[2]:.1f} s to ready (min {starts[0]:.1f}, max {starts[-1]:.1f}), limit 5",
        flush=True,
    )
    results_page.measure(folder)
    bulk_insert.measure(folder)
    upload_stream.measure(folder)
    two_servers.measure(folder)
    task_status.measure(folder)
