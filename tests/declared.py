"""What tests may ask workers for. Every migrated database of theirs has it; a house that was started is told with
`taskhouse catalogue apply` and the file that `write` makes.
"""

import json
from pathlib import Path

from server.core.catalogue import Action, Parameter, ParameterType, Service
from server.store import catalogue
from server.store.engine import Tx

ACTIONS = {
    "bench/none": ("a",),
    "bench/nothing": ("number",),
    "bench/publish": ("buckets",),
    "icloud/fetch-data": ("a", "b", "device", "p"),
    "icloud/other": (),
    "icloud/publish": ("count",),
    "later/never": ("n",),
    "nobody/does-this": (),
    "shop/report": (),
    "slow/wait": ("folder",),
    "test/count": ("file",),
    "test/die": ("file",),
    "test/publish": ("times",),
    "test/swell": ("file",),
    "test/wait": ("file",),
}
"""Actions by their services, and the parameters that they may be given, which are any text."""


def services() -> tuple[Service, ...]:
    """Return them as the catalogue has them; slugs are names, too."""
    found: dict[str, list[Action]] = {}
    for path, slugs in ACTIONS.items():
        service, action = path.split("/")
        parameters = tuple(Parameter(slug, slug, ParameterType.STRING, True, "") for slug in slugs)
        found.setdefault(service, []).append(Action(action, action, "", parameters, ()))
    return tuple(Service(slug, slug, tuple(actions)) for slug, actions in found.items())


async def declare(tx: Tx) -> None:
    """Declare them in a database that has no services, without an event."""
    for number, service in enumerate(services()):
        await catalogue.add_service(tx, slug=service.slug, name=service.slug, folded=service.slug, position=number)
        for place, action in enumerate(service.actions):
            definition = action._asdict() | {"parameters": [one._asdict() for one in action.parameters]}
            row = catalogue.StoredAction(service.slug, action.slug, json.dumps(definition | {"permissions": {}}))
            await catalogue.add_action(tx, row, position=place)


def write(folder: Path) -> Path:
    """Write them as a file for `taskhouse catalogue apply`, and return it."""
    content = [
        {
            "slug": service.slug,
            "name": service.name,
            "actions": [
                {
                    "slug": action.slug,
                    "name": action.name,
                    "parameters": [
                        {"slug": one.slug, "name": one.name, "type": one.type.value, "optional": True}
                        for one in action.parameters
                    ],
                }
                for action in service.actions
            ],
        }
        for service in services()
    ]
    file = folder / "catalogue.yaml"
    file.write_text(json.dumps({"services": content}))  # JSON is YAML.
    return file
