"""Writes gen/: stubs for Python and TypeScript, and the descriptor set that Envoy's transcoder reads.

Python and the descriptor set need PyPI wheels only (grpcio-tools, mypy-protobuf). TypeScript needs Node, and is left as
it is where there is none. `make gen` runs it; a test runs the part without Node into a temporary folder and compares,
and compares gen/typescript/SHA256SUMS with what is there.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent
GEN = ROOT.parent / "gen"
# Nothing imports it, and without it the transcoder answers errors with empty bodies.
ALWAYS = "google/rpc/error_details.proto"
SUMS = "SHA256SUMS"


def generate(out: Path) -> None:
    """Write python/ and taskhouse.binpb into `out`."""
    python = out / "python"
    python.mkdir(parents=True, exist_ok=True)
    plugins = Path(sys.executable).parent  # protoc finds plugins by path; the venv need not be activated.
    run(f"--plugin={plugins / 'protoc-gen-mypy_grpc'}", f"--python_out={python}", f"--pyi_out={python}",
        f"--grpc_python_out={python}", f"--mypy_grpc_out={python}", *ours())  # fmt: skip
    for package in ("taskhouse", "taskhouse/v1", "taskhouse/rest", "taskhouse/rest/v1"):
        (python / package / "__init__.py").write_text("")
    (python / "taskhouse/py.typed").write_text("")
    run("--include_imports", f"--descriptor_set_out={out / 'taskhouse.binpb'}", *ours(), ALWAYS)


def generate_typescript(out: Path) -> None:
    """Write typescript/ anew into `out`: an npm package of modules that run as they are, with their declarations."""
    installed, lock = ROOT / "node_modules/.package-lock.json", ROOT / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=ROOT, check=True)  # noqa: S607 - npm is wherever its user has it.
    with tempfile.TemporaryDirectory(dir=out) as temporary:
        fresh = Path(temporary) / "typescript"
        fresh.mkdir()
        run(f"--plugin={ROOT / 'node_modules/.bin/protoc-gen-es'}", f"--es_out={fresh}",
            "--es_opt=target=js+dts,import_extension=js", *vendored(), *ours())  # fmt: skip
        (fresh / "package.json").write_text(json.dumps(package(), indent=2) + "\n")
        (fresh / SUMS).write_text(sums(fresh))
        shutil.rmtree(out / "typescript", ignore_errors=True)
        fresh.rename(out / "typescript")


def package() -> dict[str, object]:
    """Return what npm has to know of typescript/; it runs on the version of the runtime that it was made for."""
    pinned = json.loads((ROOT / "package.json").read_text())["devDependencies"]["@bufbuild/protoc-gen-es"]
    return {
        "name": "taskhouse",
        "version": "0.1.0",
        "private": True,
        "license": "Apache-2.0",
        "type": "module",
        "sideEffects": False,
        "exports": {"./google/*": "./google/*", "./*": "./taskhouse/*"},
        "dependencies": {"@bufbuild/protobuf": f"^{pinned}"},
    }


def sums(typescript: Path) -> str:
    """Return, as sha256sum writes it, what typescript/ was made from, and what it is; paths are from the top."""
    sources = [ROOT / name for name in (*vendored(), *ours(), "package-lock.json", "generate.py")]
    made = [path for path in typescript.rglob("*") if path.is_file() and path.name != SUMS]
    named = {path.relative_to(ROOT.parent): path for path in sources}
    named |= {Path("gen/typescript") / path.relative_to(typescript): path for path in made}
    return "".join(f"{hashlib.sha256(named[name].read_bytes()).hexdigest()}  {name}\n" for name in sorted(named))


def ours() -> list[str]:
    """Return the contract's files."""
    return files(ROOT / "taskhouse")


def vendored() -> list[str]:
    """Return the files that the contract imports."""
    return files(ROOT / "google")


def files(folder: Path) -> list[str]:
    """Return a folder's .proto files as protoc names them."""
    return sorted(str(path.relative_to(ROOT)) for path in folder.rglob("*.proto"))


def run(*arguments: str) -> None:
    """Run protoc, or end with its exit code."""
    if code := protoc.main(["protoc", f"-I{ROOT}", f"-I{resources.files('grpc_tools') / '_proto'}", *arguments]):
        sys.exit(code)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        generate(Path(sys.argv[1]))
    else:
        generate(GEN)
        if shutil.which("npm"):
            generate_typescript(GEN)
        else:
            print("gen/typescript is left as it is: npm is not here (Node 20 or later brings it)")
