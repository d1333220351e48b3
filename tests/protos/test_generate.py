import filecmp
import subprocess
import sys
from pathlib import Path

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
