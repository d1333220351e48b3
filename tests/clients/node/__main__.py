"""`make node`: runs the Node client of this folder against a house of its own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

from tests.bench.house import running

HERE = Path(__file__).parent
USERS = 500
DATASETS = "datasets:\n  - name: heights\n    columns:\n      - {name: height, type: float, nullable: false}\n"

with tempfile.TemporaryDirectory() as temporary, running(Path(temporary) / "data") as house:
    folder = Path(temporary)
    (folder / "datasets.yaml").write_text(DATASETS)
    house.run("orgs", "create", "acme")
    house.run("datasets", "apply", folder / "datasets.yaml", "--org", "acme")
    for kind in ("upload_any", "task_runner", "web_api"):
        house.run("keys", "issue", "--org", "acme", "--kind", kind, "--out", folder / f"{kind}.pem")
    token = house.run("tokens", "create", "--org", "acme", "--api", "grpc", "--access", "write")[0]["token"]
    with httpx.Client(verify=house.context(folder / "upload_any.pem")) as client:
        rows = {f"user-{number}": {"heights": [{"height": 165.0}]} for number in range(USERS)}
        client.post(f"https://localhost:{house.https[1]}/bulk_insert", json=rows).raise_for_status()
    environment = {
        **os.environ,
        "HOUSE_HTTP": f"http://localhost:{house.http[1]}",
        "HOUSE_HTTPS": f"https://localhost:{house.https[1]}",
        "HOUSE_CA": str(house.data / "ca.pem"),
        "HOUSE_TASK_RUNNER": str(folder / "task_runner.pem"),
        "HOUSE_WEB_API": str(folder / "web_api.pem"),
        "HOUSE_TOKEN": str(token),
    }
    sys.exit(subprocess.run(["npm", "test", "--silent"], cwd=HERE, env=environment, timeout=300).returncode)
