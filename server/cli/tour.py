"""`taskhouse tour`: the demonstration, against a running house, with the commands and calls that anybody could type."""

import csv
import http.client
import json
import shlex
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from server.settings import Settings, load

ORGANIZATION = "demo"
DATASETS = """\
datasets:
  - name: heights
    columns:
      - {name: sex, type: text, nullable: false}
      - {name: height, type: float, nullable: false}
      - {name: mother_height, type: float, nullable: false}
      - {name: father_height, type: float, nullable: false}
"""
TASK = {
    "service": "cloak",
    "action": "histogram",
    "parameters": {"dataset": "heights", "column": "height", "bin_width": "5"},
}
KEYS = {
    "upload.pem": ("--kind", "upload_any"),
    "device.pem": ("--kind", "upload_user", "--user", "somebody"),
    "runner.pem": ("--kind", "task_runner"),
    "web.pem": ("--kind", "web_api"),
}
PASSWORD = "my_password"  # noqa: S105 - the document's, for the demonstration's own key.
BAR_WIDTH = 50
TASK_SECONDS = 60.0


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the house; default: ./data.")
@click.option("--http", metavar="HOST:PORT", help="The house's plain listener; default: 127.0.0.1:8080.")
@click.option("--https", metavar="HOST:PORT", help="The house's TLS listener; default: 127.0.0.1:8443.")
def tour(data: Path | None, http: str | None, https: str | None) -> None:
    """Upload 934 people's heights, have them counted, and show the anonymised histogram.

    The organization `demo` and its keys are made on the first run and used again on the next ones.
    """
    _Tour(load(data=data, http=http, https=https)).run()


class _Tour:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.data / "tour"
        self._notes = self._folder / "notes.json"  # What earlier runs did.
        self._url = f"https://{settings.https}"

    def run(self) -> None:
        if not (self._settings.data / "ca.pem").is_file():
            raise click.ClickException(f"no house runs on {self._settings.data}: start one with `taskhouse up`")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        done = json.loads(self._notes.read_text()) if self._notes.is_file() else {}
        self._credentials()
        if "uploaded" not in done:
            done["uploaded"] = self._upload()
            self._note(done)
        if "task_id" not in done:
            done["task_id"] = self._count()
            self._note(done)
        page = self._call("web.pem", "GET", f"/api/task_results/{done['task_id']}")
        _heading(f"GET /api/task_results/{done['task_id']}")
        click.echo(json.dumps(page, indent=2))
        _chart(page["items"][0]["buckets"])
        self._show_calls(done["task_id"])

    def _note(self, done: dict[str, Any]) -> None:
        draft = self._notes.with_suffix(".draft")
        draft.write_text(json.dumps(done))
        draft.replace(self._notes)

    def _credentials(self) -> None:
        known = [each["name"] for each in self._taskhouse("orgs", "list")]
        if ORGANIZATION not in known:
            self._shown("orgs", "create", ORGANIZATION)
        for name, options in KEYS.items():
            out = self._folder / name
            if not out.exists():
                self._shown("keys", "issue", "--org", ORGANIZATION, *options, "--out", str(out))
        pfx, password = self._folder / "web.pfx", self._folder / "web.password"
        if not pfx.exists():
            password.touch(mode=0o600)
            password.write_text(f"{PASSWORD}\n")
            options = ("--kind", "web_api", "--out", str(pfx), "--password-file", str(password))
            self._shown("keys", "issue", "--org", ORGANIZATION, *options)
        declared = self._folder / "datasets.yaml"
        if not declared.exists():
            declared.write_text(DATASETS)
        self._shown("datasets", "apply", str(declared), "--org", ORGANIZATION)

    def _upload(self) -> int:
        text = resources.files("server.cli").joinpath("heights.csv").read_text()
        users = {
            row.pop("user_id"): {
                "heights": [{name: value if name == "sex" else float(value) for name, value in row.items()}]
            }
            for row in csv.DictReader(text.splitlines())
        }
        click.echo(f"  POST /bulk_insert: {len(users)} people's measurements")
        self._call("upload.pem", "POST", "/bulk_insert", users)
        return len(users)

    def _count(self) -> str:
        click.echo(f"  POST /v1/tasks: {json.dumps(TASK)}")
        task = self._call("runner.pem", "POST", "/v1/tasks", TASK)
        click.echo("  waiting for a worker to do it")
        deadline = time.monotonic() + TASK_SECONDS
        while task["state"] in ("TASK_STATE_PENDING", "TASK_STATE_RUNNING"):
            if time.monotonic() > deadline:
                raise click.ClickException(f"the task {task['id']} is not done: does a worker run?")
            time.sleep(0.05)
            task = self._call("runner.pem", "GET", f"/v1/tasks/{task['id']}")
        if task["state"] != "TASK_STATE_SUCCEEDED":
            raise click.ClickException(f"the task ended as {task['state']}: {task['error']['message']}")
        return str(task["id"])

    def _shown(self, *arguments: str) -> None:
        """Run a command, having shown it."""
        click.echo(f"  {shlex.join(['taskhouse', *arguments])}")
        self._taskhouse(*arguments)

    def _taskhouse(self, *arguments: str) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "server.cli.main", *arguments, "--data", str(self._settings.data), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own commands.
        if done.returncode:
            click.echo()
            raise click.ClickException(done.stderr.strip().removeprefix("taskhouse: "))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def _call(self, key: str, method: str, path: str, body: object = None) -> Any:
        context = ssl.create_default_context(cafile=str(self._settings.data / "ca.pem"))
        context.load_cert_chain(self._folder / key)
        address = urlsplit(self._url)
        connection = http.client.HTTPSConnection(address.hostname or "", address.port, context=context, timeout=60)
        try:
            content = json.dumps(body).encode() if body is not None else None
            connection.request(method, path, content, {"content-type": "application/json"} if content else {})
            answer = connection.getresponse()
            text = answer.read().decode()
        except OSError as error:
            raise click.ClickException(f"no house answers at {self._url}: {error}") from error
        finally:
            connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise click.ClickException(f"{method} {path} was answered {answer.status}: {text}")
        return json.loads(text)

    def _show_calls(self, task_id: str) -> None:
        page = f"/api/task_results/{task_id}"
        person = {"sex": "female", "height": 171, "mother_height": 165, "father_height": 178}
        tables = {"heights": [person]}
        calls: list[tuple[str, Sequence[str]]] = [
            ("results of a task, newest first", self._curl("web.pem", f"{page}?page=1&per_page=10")),
            ("the same with the PKCS12 file that the document's Ruby example reads", self._curl("web.pfx", page)),
            ("the organization's keys", self._curl("web.pem", "/keys")),
            ("upload rows of any users", self._curl("upload.pem", "/bulk_insert", {"somebody": tables})),
            ("upload rows of the one user of a key", self._curl("device.pem", "/insert", tables)),
            ("ask for another task", self._curl("runner.pem", "/v1/tasks", TASK)),
            ("look at a task", self._curl("runner.pem", f"/v1/tasks/{task_id}")),
            ("is the house up?", ["curl", f"http://{self._settings.http}/health"]),
        ]
        _heading("try it yourself")
        for title, command in calls:
            click.echo(f"  # {title}\n  {shlex.join(command)}")

    def _curl(self, key: str, path: str, body: object = None) -> list[str]:
        command = ["curl", "--cacert", str(self._settings.data / "ca.pem")]
        if key.endswith(".pfx"):
            command += ["--cert-type", "P12", "--cert", f"{self._folder / key}:{PASSWORD}"]
        else:
            command += ["--cert", str(self._folder / key)]
        if body is not None:
            command += ["-H", "content-type: application/json", "-d", json.dumps(body)]
        return [*command, self._url + path]


def _heading(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)


def _chart(buckets: list[dict[str, Any]]) -> None:
    _heading("people by height (cm), as the house tells it")
    most = max((bucket["value"] for bucket in buckets), default=1)
    for bucket in buckets:
        bar = "█" * max(1, round(bucket["value"] / most * BAR_WIDTH))
        click.echo(f"  {bucket['name']:>12}  {bar} {bucket['value']}")
