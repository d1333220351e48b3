"""`make run`: the demonstration beside a house that has just started, and again on the same data."""

import re
import shlex
import subprocess
from pathlib import Path

from tests.bench.house import COMMAND, free_port


def shown(data: Path) -> str:
    """Run a house with its tour and return what it printed, up to the last call that it shows."""
    ports = {"--http": free_port(), "--https": free_port()}
    addresses = [word for option, port in ports.items() for word in (option, f"127.0.0.1:{port}")]
    process = subprocess.Popen(
        [COMMAND, "up", "--data", data, *addresses, "--tour"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.endswith("/health\n"):
                break
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
    assert process.returncode == 0
    return "".join(lines)


def test_the_tour_shows_a_histogram_of_934_people_and_a_second_start_shows_the_same_one(tmp_path: Path) -> None:
    data = tmp_path / "my data"
    first, again = shown(data), shown(data)
    assert "934 people" in first
    bars = re.findall(r"^ +height: (\d+) +(█+) (\d+)$", first, re.MULTILINE)
    assert len(bars) > 5
    assert all(int(count) % 5 == 0 for _, _, count in bars)
    assert 800 < sum(int(count) for _, _, count in bars) < 1050
    assert "934 people" not in again
    assert re.findall(r"^ +height: .*$", again, re.MULTILINE) == re.findall(r"^ +height: .*$", first, re.MULTILINE)
    calls = [shlex.split(line) for line in first.splitlines() if line.startswith("  curl ")]
    paths = {call[-1].split("://", 1)[1].split("/", 1)[1].split("?")[0] for call in calls}
    assert {"keys", "bulk_insert", "insert", "v1/tasks", "health"} < paths
    assert all(Path(word.split(":")[0]).is_file() for call in calls for word in call if word.startswith(str(tmp_path)))
