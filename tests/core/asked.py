"""What tests of counts ask, step by step as DatasetService does."""

from server.core import counts
from server.core.caller import Caller
from server.core.counts import Answer, Exact
from server.core.questions import Asking
from server.store.counts import TOO_LONG
from server.store.engine import Store


async def counted(store: Store, caller: Caller, asking: Asking) -> Answer | Exact:
    """Count, unless there is an answer."""
    asked = await store.read(counts.ask, organization_id=caller.tenant, asking=asking)
    return asked if isinstance(asked, Answer) else await store.scan(counts.count, unanswered=asked)


async def exact_counts(store: Store, caller: Caller, **asked: str) -> dict[str, int]:
    """Return what no caller is ever told: the counts before noise, by the labels of the buckets."""
    exact = await counted(store, caller, Asking(**asked))
    assert isinstance(exact, Exact)
    users = counts.bounded(exact)
    return {exact.question.label(key) if key != TOO_LONG else TOO_LONG: users[key] for key in sorted(users)}


async def answer_to(store: Store, caller: Caller, asking: Asking) -> Answer:
    """Ask a question to its end, as DatasetService does."""
    found = await counted(store, caller, asking)
    return await store.write(counts.keep, drawn=counts.anonymise(found)) if isinstance(found, Exact) else found
