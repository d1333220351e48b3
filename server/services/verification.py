"""Verifies the event logs from their first events to their heads."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from server.core import event_log
from server.core.chain import Examination, Finding, Keeper
from server.services.sealing import unacknowledged
from server.store import events as store_
from server.store.engine import Store, StoreUnavailable
from server.store.events import Place
from server.store.heads import Heads

PAGE = 500  # events
MOST_TOLD = 20  # findings of one log
_BEFORE_ALL = Place(-(2**63), 0)


@dataclass
class Verdict:
    """What a verification found. A log has at most MOST_TOLD findings; `untold` counts the others."""

    findings: list[Finding] = field(default_factory=list)
    untold: Counter[int] = field(default_factory=Counter)
    heads_fault: str = ""  # where somebody else has changed the heads that the logs are held against
    names: Mapping[int, str] = field(default_factory=dict)  # of the organizations, by log
    logs: int = 0
    events: int = 0
    others: Mapping[str, int] = field(default_factory=dict)  # events whose seals only other hosts can check, by host

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings and not self.heads_fault

    def tell(self, findings: Iterable[Finding]) -> None:
        """Add findings."""
        for one in findings:
            if self._told[one.log_id] < MOST_TOLD:
                self._told[one.log_id] += 1
                self.findings.append(one)
            else:
                self.untold[one.log_id] += 1

    def __post_init__(self) -> None:
        self._told: Counter[int] = Counter()


async def verify(store: Store, heads: Heads) -> Verdict:
    """Look at every event of every log. The house may run meanwhile. Raises StoreUnavailable."""
    kept = await asyncio.to_thread(heads.read)
    verdict = Verdict(heads_fault=kept.fault)
    # What is known before the walk must be found on it; what is found on it must be known after it.
    before = await store.scan(store_.logs)
    examination = Examination(Keeper(heads.host, heads.seal, kept.hosts), kept.heads, before)
    await _walk(store, examination, verdict)
    logs = await store.scan(store_.logs)
    verdict.tell(examination.end(logs))
    if not verdict.heads_fault:
        ends = await store.scan(store_.ends, [one.id for one in logs])
        verdict.tell(examination.unacknowledged(await unacknowledged(store, heads, ends)))
    verdict.names = {one.id: one.organization for one in logs if one.organization}
    verdict.logs, verdict.events = len(logs), examination.events
    verdict.others = {host: number for host, number in examination.hosts.items() if host != heads.host}
    return verdict


async def _walk(store: Store, examination: Examination, verdict: Verdict) -> None:
    after, most = _BEFORE_ALL, PAGE
    while True:
        try:
            found = await store.scan(event_log.every, after=after, most=most)
        except StoreUnavailable:
            if most > 1:  # One of them cannot be read, and which is not known.
                most = 1
                continue
            place = await store.scan(store_.next_after, after)
            if place is None:
                raise
            verdict.tell(examination.skip(place))
            after, most = place, PAGE
            continue
        for event in found:
            verdict.tell(examination.take(event))
        if not found:
            return
        after = Place(found[-1].log_id, found[-1].sequence)
