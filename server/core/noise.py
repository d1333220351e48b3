"""The noise that makes counts of users releasable, drawn by OpenDP."""

from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar

from opendp.domains import atom_domain, map_domain
from opendp.measurements import make_laplace_threshold
from opendp.metrics import absolute_distance, l01inf_distance
from opendp.mod import enable_features

SCALE = 2.0
"""Of the Laplace noise on each count, in users; its standard deviation is 1.41 times that."""
THRESHOLD = 20
"""Counts that are not above this once they have their noise are left out, in users.

With one bucket a user, an answer is (0.5, 0.000028)-differentially private: a bucket with only one person in it appears
28 times in a million. With n buckets a user, both figures are about n times as large.
"""
ROUND_TO = 5  # users

_Key = TypeVar("_Key", bound=Hashable)


class Cost(NamedTuple):
    """What an answer costs in privacy: it is (epsilon, delta)-differentially private for one user."""

    epsilon: float
    delta: float


def noisy(counts: Mapping[_Key, int]) -> dict[_Key, int]:
    """Return the counts with noise, without small ones, rounded to ROUND_TO."""
    keys = list(counts)
    released: dict[int, int] = _measurement()({number: counts[key] for number, key in enumerate(keys)})
    # OpenDP lets counts equal to the threshold pass, while the delta that it states is of those above it alone
    # (opendp#2922). With them, a bucket with one person in it would appear 47 times in a million instead of 28.
    above = {number: _rounded(count) for number, count in released.items() if count > THRESHOLD}
    # In the order of the keys: the order in which OpenDP gives them is nobody's business.
    return {key: above[number] for number, key in enumerate(keys) if number in above}


@cache
def cost(buckets_per_user: int) -> Cost:
    """Return what an answer costs in which a user counts once in each of at most so many buckets."""
    distance = (buckets_per_user, buckets_per_user, 1)  # buckets that change, by how much together, by how much each
    epsilon, delta = _measurement().map(distance)
    return Cost(epsilon, delta)


def _rounded(count: int) -> int:
    return (count + ROUND_TO // 2) // ROUND_TO * ROUND_TO


@cache
def _measurement() -> Any:
    enable_features("contrib")  # OpenDP asks this of whoever uses parts that its own reviewers have not yet vetted.
    counts: Any = map_domain(atom_domain(T="i64"), atom_domain(T="i32"))
    return make_laplace_threshold(counts, l01inf_distance(absolute_distance(T="i32")), scale=SCALE, threshold=THRESHOLD)
