"""The noise on counts, and that it is what its stated cost says."""

import math
from statistics import mean

import pytest

from server.core import noise
from server.core.noise import ROUND_TO, SCALE, THRESHOLD, cost, noisy

DRAWS = 100_000
FALL = math.exp(-1 / SCALE)  # How much rarer each further user of noise is.


def probability_to_show(users: int) -> float:
    """Return how often a bucket of so many users appears, by the distribution: its noise lifts it above the threshold.

    Noise of k users comes with the probability (1 - FALL) / (1 + FALL) * FALL ** abs(k).
    """
    lift = THRESHOLD + 1 - users
    assert lift > 0
    return FALL**lift / (1 + FALL)


def test_counts_are_noisy_around_the_truth_and_multiples_of_five():
    released = list(noisy(dict.fromkeys(range(2000), 101)).values())
    assert all(count % ROUND_TO == 0 for count in released)
    assert len(set(released)) >= 3  # Each draw is its own.
    assert abs(mean(released) - 101) < 1  # The mean's standard deviation is 0.07.


def test_small_counts_are_left_out_and_large_ones_are_not():
    released = noisy({"few": 0, "many": 1000})
    assert list(released) == ["many"]


def test_a_count_that_equals_the_threshold_with_its_noise_is_left_out(monkeypatch):
    monkeypatch.setattr(noise, "ROUND_TO", 1)
    released = noisy(dict.fromkeys(range(DRAWS), THRESHOLD)).values()
    assert min(released) == THRESHOLD + 1


def test_the_stated_delta_is_how_often_a_person_alone_shows():
    assert probability_to_show(1) == pytest.approx(cost(1).delta, rel=1e-6)


@pytest.mark.parametrize("users", [THRESHOLD - 3, THRESHOLD])
def test_small_counts_show_as_often_as_the_distribution_says(users):
    shown = len(noisy(dict.fromkeys(range(DRAWS), users))) / DRAWS
    assert abs(shown - probability_to_show(users)) < 0.01  # Six standard deviations and more.


def test_the_cost_grows_with_the_buckets_of_a_user():
    assert cost(1).epsilon == 1 / SCALE
    assert cost(1).delta < 3e-5
    assert cost(10).epsilon == pytest.approx(10 / SCALE)
    assert cost(1).delta < cost(2).delta < cost(10).delta < 1e-3
