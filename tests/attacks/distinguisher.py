"""Tells two worlds apart by what is seen in them, as well as any threshold can, and says if that is too well."""

import math
from bisect import bisect_left
from collections.abc import Sequence

CHANCE = 1e-7  # How often something is called too well told apart that is not.


def excess(here: Sequence[float], there: Sequence[float], *, epsilon: float, delta: float) -> float:
    """Return how far beyond (epsilon, delta) the two worlds can be told apart; at most 0 if that was not seen.

    Both hold as many independent views of one world. Of each event "at least x was seen" and "less than x was seen",
    the probability in one world must be at most e^epsilon times that in the other, plus delta. What was seen misses a
    probability by more than `slack` once in CHANCE, all events and both worlds together (Hoeffding's inequality).
    """
    assert len(here) == len(there)
    events = sorted({*here, *there})
    slack = math.sqrt(math.log(4 * len(events) / CHANCE) / (2 * len(here)))
    worlds = sorted(here), sorted(there)
    found = -1.0
    for least in events:
        p, q = (1 - bisect_left(world, least) / len(world) for world in worlds)
        for one, other in ((p, q), (q, p), (1 - p, 1 - q), (1 - q, 1 - p)):
            found = max(found, one - slack - math.exp(epsilon) * (other + slack) - delta)
    return found
