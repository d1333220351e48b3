import filecmp
import subprocess
import sys
from pathlib import Path

from protos.generate import SUMS, sums

ROOT = Path(__file__).parents[2]


def test_the_committed_stubs_are_what_the_contract_says(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "protos/generate.py", tmp_path], check=True, capture_output=True)
    fresh = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    committed = sorted(
        path.relative_to(ROOT / "gen")
        for part in ("gen/python", "gen/taskhouse.binpb")
        for path in ((ROOT / part).rglob("*") if (ROOT / part).is_dir() else [ROOT / part])
        if path.is_file() and "__pycache__" not in path.parts
    )
    assert fresh == committed
    _, different, errors = filecmp.cmpfiles(tmp_path, ROOT / "gen", fresh, shallow=False)
    assert (different, errors) == ([], [])


def test_the_committed_typescript_was_made_from_this_contract_and_is_as_it_was_made() -> None:
    typescript = ROOT / "gen/typescript"
    assert (typescript / SUMS).read_text() == sums(typescript), "gen/typescript is stale: `make gen`, where Node is"


def test_sums_tell_another_contract_and_an_edited_stub(tmp_path: Path) -> None:
    stub = tmp_path / "taskhouse/v1/tasks_pb.js"
    stub.parent.mkdir(parents=True)
    stub.write_text("made")
    made = sums(tmp_path)
    stub.write_text("edited")
    differing = set(made.splitlines()) ^ set(sums(tmp_path).splitlines())
    assert {line.split("  ")[1] for line in differing} == {"gen/typescript/taskhouse/v1/tasks_pb.js"}
    for proto in ("taskhouse/v1/tasks.proto", "google/rpc/status.proto"):
        assert f"  protos/{proto}\n" in made
