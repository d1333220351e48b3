"""How a refusal travels to a JSON caller: as a real gRPC error, with the documented status and body beside it.

The edge's Lua filter puts both in place of what the transcoder made of the error. A native caller sees the gRPC code
alone.
"""

import json
from contextlib import suppress
from typing import NoReturn

import grpc
import grpc.aio
import orjson

from server.rpc.door import Context

MAX_BODY_BYTES = 4096


async def refuse(
    context: Context,
    code: grpc.StatusCode,
    status: int,
    body: object,
    *,
    spaced: bool = False,
    indented: bool = False,
    **headers: str,
) -> NoReturn:
    """Abort with an HTTP status and a JSON body of at most 4 KiB. Further headers are sent as they are named.

    `spaced`: with a blank after each comma and colon. `indented`: on lines of their own, two blanks deeper each level.
    """
    text = to_spaced_json(body) if spaced else to_ascii_json(body, indented=indented)
    if len(text) > MAX_BODY_BYTES:
        raise ValueError(f"a refusal of {len(text)} bytes does not fit in a header")
    metadata = [
        ("x-taskhouse-status", str(status)),
        ("x-taskhouse-body", text.replace("~", "~0").replace("\n", "~1")),  # edge.lua reads it back.
        *((k.replace("_", "-"), v) for k, v in headers.items()),
    ]
    with suppress(grpc.aio.UsageError):  # The answer has begun, and was cut; see rest/streams.py.
        await context.send_initial_metadata(metadata)
    await context.abort(code, "")


def to_ascii_json(body: object, *, indented: bool = False) -> str:
    r"""Return JSON that a header may carry, but for its line ends: all outside ASCII, and DEL, as \u escapes."""
    text = orjson.dumps(body, option=orjson.OPT_INDENT_2 if indented else None).decode()
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(c if " " <= c <= "~" or c == "\n" else _escape(c) for c in text)


def to_spaced_json(body: object) -> str:
    """Return the same with a blank after each comma and colon, as Python's own `json` writes it."""
    return json.dumps(body).replace("\x7f", "\\u007f")


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
