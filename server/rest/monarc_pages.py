"""How stats and organizations are written in the monarc API: as documented, with `, ` and `: `, and in ASCII."""

from collections.abc import Iterable
from json.encoder import encode_basestring_ascii as text_of

from server.core.stats import Stat
from server.core.stats_content import time_text

Fields = frozenset[str] | None
"""The names of the fields that are written; None: all."""


def stat_text(stat: Stat, fields: Fields = None) -> str:
    """Return a stat."""
    created = time_text(stat.create_time)
    updated = created if stat.update_time == stat.create_time else time_text(stat.update_time)
    anr = stat.anr_number if stat.anr_uuid is None else f'"{stat.anr_uuid}"'
    quarter = "" if stat.quarter is None else f'"quarter": {stat.quarter}, '
    year = "" if stat.year is None else f'"year": {stat.year}, '
    if fields is None:  # In one piece: this is most of what a list of stats costs here.
        return (
            f'{{"uuid": "{stat.uuid}", "organization": {text_of(stat.organization)}, "anr": {anr},'
            f' "type": {text_of(stat.type)}, "day": {stat.day}, "week": {stat.week}, "month": {stat.month},'
            f' {quarter}{year}"data": {stat.data}, "created_at": "{created}", "updated_at": "{updated}",'
            f' "id": "{stat.id}"}}'
        )
    parts = {
        "uuid": f'"{stat.uuid}"',
        "organization": text_of(stat.organization),
        "anr": str(anr),
        "type": text_of(stat.type),
        "day": str(stat.day),
        "week": str(stat.week),
        "month": str(stat.month),
        "quarter": "" if stat.quarter is None else str(stat.quarter),
        "year": "" if stat.year is None else str(stat.year),
        "data": stat.data,
        "created_at": f'"{created}"',
        "updated_at": f'"{updated}"',
        "id": f'"{stat.id}"',
    }
    return "{" + ", ".join(f'"{name}": {text}' for name, text in parts.items() if text and name in fields) + "}"


def name_text(name: str) -> str:
    """Return an organization."""
    return f'{{"name": {text_of(name)}}}'


def list_text(items: Iterable[str], *, has_more: bool) -> str:
    """Return a page of items."""
    return f'{{"data": [{", ".join(items)}], "has_more": {"true" if has_more else "false"}}}'
