"""The rules of a house's SQLite file as FastAPI and SQLModel serve them: what one would write without Taskhouse.

Runs in a scratch virtual environment, by two uvicorn workers. Endpoints are plain functions with a session each, as the
documentation of both shows it; tokens are looked up by their digest on every call. An update writes an event in its
transaction, into a table of its own: a log of rows, without the house's chain.
"""

import hashlib
import json
import time
import uuid
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi_session import Opened
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlmodel import Field as Column
from sqlmodel import Session, SQLModel, select


class RuleRow(SQLModel, table=True):
    __tablename__ = "rules"

    organization_id: int = Column(primary_key=True)
    id: str = Column(primary_key=True)
    display_name: str
    document: str
    bytes: int
    etag: str
    create_time: int
    update_time: int


class EventRow(SQLModel, table=True):
    __tablename__ = "peer_events"

    id: int | None = Column(default=None, primary_key=True)
    organization_id: int
    actor: str
    action: str
    rule_id: str
    before: str
    after: str
    event_time: int


class Given(BaseModel):
    displayName: Annotated[str, Field(min_length=3, max_length=255)] | None = None  # noqa: N815 - as in the JSON.
    shortDescription: str | None = None  # noqa: N815 - as in the JSON.
    longDescription: str | None = None  # noqa: N815 - as in the JSON.
    directives: list[str] | None = None
    targets: list[Any] | None = None
    enabled: bool | None = None


TOKEN = text(
    "SELECT organization_id, display_name FROM credentials"
    " WHERE digest = :digest AND kind IN ('rudder_read', 'rudder_write') AND revoke_time IS NULL"
    " AND (expire_time IS NULL OR expire_time > :now)"
)


def account(opened: Opened, x_api_token: Annotated[str, Header()] = "") -> tuple[int, str]:
    digest = hashlib.sha256(x_api_token.encode()).digest()
    found = opened.execute(TOKEN, {"digest": digest, "now": time.time_ns() // 1000}).first()
    if found is None:
        raise HTTPException(401, "Unauthorized")
    return found[0], found[1]


Owner = Annotated[tuple[int, str], Depends(account)]
app = FastAPI()


@app.get("/api/latest/rules")
def every(opened: Opened, owner: Owner) -> dict[str, Any]:
    found = opened.exec(select(RuleRow).where(RuleRow.organization_id == owner[0]).order_by(RuleRow.id)).all()
    rules = [json.loads(row.document) for row in found]
    return {"action": "listRules", "result": "success", "data": {"rules": rules}}


@app.get("/api/latest/rules/{rule_id}")
def one(opened: Opened, owner: Owner, rule_id: str) -> dict[str, Any]:
    rule = json.loads(existing(opened, owner, rule_id).document)
    return {"action": "ruleDetails", "id": rule_id, "result": "success", "data": {"rules": [rule]}}


@app.post("/api/latest/rules/{rule_id}")
def update(opened: Opened, owner: Owner, rule_id: str, given: Given) -> dict[str, Any]:
    opened.execute(text("BEGIN IMMEDIATE"))
    row = existing(opened, owner, rule_id)
    old = json.loads(row.document)
    changes = {key: value for key, value in given.model_dump(exclude_unset=True).items() if old[key] != value}
    new, now = old | changes, time.time_ns() // 1000
    row.document = json.dumps(new, separators=(",", ":"), ensure_ascii=False)
    row.display_name, row.bytes, row.etag = new["displayName"], len(row.document.encode()), str(uuid.uuid4())
    row.update_time = now
    before = json.dumps({key: old[key] for key in changes})
    opened.add(
        EventRow(
            organization_id=owner[0], actor=owner[1], action="rule.updated", rule_id=rule_id, before=before,
            after=json.dumps(changes), event_time=now,
        )
    )  # fmt: skip
    opened.commit()
    return {"action": "updateRule", "id": rule_id, "result": "success", "data": {"rules": [new]}}


def existing(opened: Session, owner: tuple[int, str], rule_id: str) -> RuleRow:
    found = opened.get(RuleRow, (owner[0], rule_id))
    if found is None:
        raise HTTPException(500, f"Could not find Rule {rule_id}.")
    return found
