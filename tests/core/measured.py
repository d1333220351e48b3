"""Stats, as tests make and find them."""

from server.core import stats
from server.core.caller import Caller, Role
from server.core.stats import Asked
from server.core.stats_content import read_new
from server.core.stats_filters import Condition
from server.core.stats_searching import Searching

UUID = "76a3999f-ab22-4008-a540-f68082f44cb2"
EVERYBODY = Caller("h", Role.MONARC_ADMIN, None, "", "")


def content(**changes):
    given = {"type": "risk", "anr": 2, "day": 1, "week": 1, "month": 1, "data": {"what": "you want"}} | changes
    return read_new(given)


async def stored(store, caller, *contents):
    return await store.write(stats.create, caller=caller, contents=contents)


async def found(store, caller, **asked):
    """The pages there are, from page to page after the last id, quick where that is enough."""
    return await Searching(store).page(caller=caller, asked=Asked(**asked))


def where(field, operator, *values, negated=False):
    return Condition(field, (), operator, negated, values)
