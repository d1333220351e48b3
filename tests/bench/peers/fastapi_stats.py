"""The stats of a house's SQLite file as FastAPI and SQLModel serve them: what one would write without Taskhouse.

Runs in a scratch virtual environment, by two uvicorn workers. Endpoints are plain functions with a session each, as the
documentation of both shows it; keys are looked up by their digest on every call.
"""

import hashlib
import json
import secrets
import time
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Query
from fastapi_session import Opened
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlmodel import Field as Column
from sqlmodel import SQLModel, select


class StatRow(SQLModel, table=True):
    __tablename__ = "stats"

    id: str = Column(primary_key=True)
    organization_id: int
    uuid: str
    anr_number: int | None
    anr_uuid: str | None
    type: str
    day: int
    week: int
    month: int
    quarter: int | None
    year: int | None
    create_time: int
    update_time: int
    leaves: str
    data: str


class Given(BaseModel):
    anr: int
    type: Annotated[str, Field(max_length=120)]
    day: int
    week: int
    month: int
    year: int | None = None
    quarter: int | None = None
    data: Any


KEY = text(
    "SELECT o.id, o.name FROM credentials c JOIN organizations o ON o.id = c.organization_id"
    " WHERE c.digest = :digest AND c.revoke_time IS NULL"
)


def organization(opened: Opened, x_api_key: Annotated[str, Header()] = "") -> tuple[int, str]:
    found = opened.execute(KEY, {"digest": hashlib.sha256(x_api_key.encode()).digest()}).first()
    if found is None:
        raise HTTPException(401, "Unauthorized")
    return found[0], found[1]


Owner = Annotated[tuple[int, str], Depends(organization)]
app = FastAPI()


def told(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).replace(tzinfo=None).isoformat()


def shown(row: StatRow, name: str) -> dict[str, Any]:
    return {
        "uuid": row.uuid,
        "organization": name,
        "anr": row.anr_number if row.anr_uuid is None else row.anr_uuid,
        "type": row.type,
        "day": row.day,
        "week": row.week,
        "month": row.month,
        **{name: value for name, value in (("quarter", row.quarter), ("year", row.year)) if value is not None},
        "data": json.loads(row.data),
        "created_at": told(row.create_time),
        "updated_at": told(row.update_time),
        "id": row.id,
    }


@app.get("/api/v2/stats/")
def page(
    opened: Opened,
    owner: Owner,
    type: str | None = None,  # noqa: A002 - the field's name.
    month: int | None = None,
    month__gt: int | None = None,
    skip: Annotated[int, Query(alias="_skip", ge=0)] = 0,
    limit: Annotated[int, Query(alias="_limit", ge=0, le=1000)] = 100,
) -> dict[str, Any]:
    query = select(StatRow).where(StatRow.organization_id == owner[0])
    if type is not None:
        query = query.where(StatRow.type == type)
    if month is not None:
        query = query.where(StatRow.month == month)
    if month__gt is not None:
        query = query.where(StatRow.month > month__gt)
    found = opened.exec(query.order_by(StatRow.id).offset(skip).limit(limit + 1)).all()
    return {"data": [shown(row, owner[1]) for row in found[:limit]], "has_more": len(found) > limit}


@app.get("/api/v2/stats/{stat_id}/")
def one(opened: Opened, owner: Owner, stat_id: str) -> dict[str, Any]:
    found = opened.get(StatRow, stat_id)
    if found is None or found.organization_id != owner[0]:
        raise HTTPException(404, "Stats matching query does not exist.")
    return shown(found, owner[1])


@app.post("/api/v2/stats/")
def create(opened: Opened, owner: Owner, given: Given) -> dict[str, Any]:
    now = time.time_ns() // 1_000_000 * 1000
    row = StatRow(
        id=f"{now // 1_000_000:08x}{secrets.token_hex(8)}",
        organization_id=owner[0],
        uuid=str(uuid.uuid4()),
        anr_number=given.anr,
        anr_uuid=None,
        type=given.type,
        day=given.day,
        week=given.week,
        month=given.month,
        quarter=given.quarter,
        year=given.year,
        create_time=now,
        update_time=now,
        leaves="{}",
        data=json.dumps(given.data),
    )
    opened.add(row)
    opened.commit()
    opened.refresh(row)
    return shown(row, owner[1])
