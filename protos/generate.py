"""Writes gen/: Python stubs with types, and the descriptor set that Envoy's transcoder reads.

Needs PyPI wheels only (grpcio-tools, mypy-protobuf). `make gen` runs it; a test runs it into a temporary folder and
compares.
"""

import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent
# Nothing imports it, and without it the transcoder answers errors with empty bodies.
ALWAYS = "google/rpc/error_details.proto"


def generate(out: Path) -> None:
    """Write python/ and taskhouse.binpb into `out`."""
    python = out / "python"
    python.mkdir(parents=True, exist_ok=True)
    ours = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "taskhouse").rglob("*.proto"))
    include = [f"-I{ROOT}", f"-I{resources.files('grpc_tools') / '_proto'}"]
    plugins = Path(sys.executable).parent  # protoc finds plugins by path; the venv need not be activated.
    run(*include, f"--plugin={plugins / 'protoc-gen-mypy_grpc'}", f"--python_out={python}", f"--pyi_out={python}",
        f"--grpc_python_out={python}", f"--mypy_grpc_out={python}", *ours)  # fmt: skip
    for package in ("taskhouse", "taskhouse/v1", "taskhouse/rest", "taskhouse/rest/v1"):
        (python / package / "__init__.py").write_text("")
    (python / "taskhouse/py.typed").write_text("")
    run(*include, "--include_imports", f"--descriptor_set_out={out / 'taskhouse.binpb'}", *ours, ALWAYS)


def run(*arguments: str) -> None:
    """Run protoc, or end with its exit code."""
    if code := protoc.main(["protoc", *arguments]):
        sys.exit(code)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "gen")
