"""What a random sample says: closed forms, and how often the interval holds the true share."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from robustaug.data.decisions import Decision
from robustaug.review.share import none_bad, random_order, share_of_bad, suggested_size

GOOD, BAD, OTHER = Decision("accept"), Decision("reject"), Decision("relabel", "cat")


def test_nothing_is_stated_before_all_of_the_sample_is_decided() -> None:
    found = share_of_bad([GOOD, BAD, None, OTHER], 100)
    assert (found.size, found.decided, found.bad, found.low, found.high) == (4, 3, 2, None, None)
    assert found.statement() == "3 of 4 decided, 2 bad so far. The share of bad ones follows when all 4 are decided."
    assert share_of_bad([GOOD, GOOD, None, None], 100).statement() == (
        "2 of 4 decided, 0 bad so far. If none of the 4 is bad, fewer than 52.7% of all 100 are (95% confidence)."
    )


def test_wilson() -> None:
    """By the formula of Wilson (1927), for 4 in 150."""
    found = share_of_bad([BAD] * 3 + [OTHER] + [GOOD] * 146, 1000)
    n, share, square = 150, 4 / 150, 1.959963984540054**2
    centre, spread = share + square / (2 * n), (square * (share * (1 - share) / n + square / (4 * n * n))) ** 0.5
    assert found.low == pytest.approx((centre - spread) / (1 + square / n))
    assert found.high == pytest.approx((centre + spread) / (1 + square / n))
    assert found.statement() == "4 of 150 are bad, 2.7%: 1.0% to 6.7% of all 1,000 (95% interval, Wilson)."


def test_none_bad_is_the_exact_bound() -> None:
    for size in (10, 59, 150, 299):
        high = share_of_bad([GOOD] * size, 1000).high
        assert high is not None
        assert binom.cdf(0, size, high) == pytest.approx(0.05)
    assert share_of_bad([GOOD] * 150, 1000).statement() == (
        "None of 150 is bad: fewer than 2.0% of all 1,000 are (95% confidence, exact bound)."
    )


def test_all_looked_at_needs_no_interval() -> None:
    assert share_of_bad([None] * 10, 10).statement() == (
        "0 of 10 decided, 0 bad so far. The share of bad ones follows when all 10 are decided."
    )
    assert share_of_bad([BAD] + [GOOD] * 9, 10).statement() == "All 10 were looked at: 1 are bad, 10.0%."
    assert none_bad(10, 10) == 0


@pytest.mark.parametrize(("total", "size"), [(1, 1), (150, 150), (10_000, 150)])
def test_suggested_size(total: int, size: int) -> None:
    assert suggested_size(total) == size
    assert size == total or none_bad(size, total) < 0.02


@given(st.sets(st.text(max_size=5), max_size=40), st.randoms())
def test_the_order_is_that_of_the_paths_alone(paths: set[str], chance: random.Random) -> None:
    """The order depends neither on where a variant stands in the manifest nor on what else is there."""
    first = sorted(paths)
    places = random_order(first)
    assert sorted(places) == list(range(len(first)))
    other = first.copy()
    chance.shuffle(other)
    assert dict(zip(first, places, strict=True)) == dict(zip(other, random_order(other), strict=True))
    fewer = first[1:]
    kept = sorted(fewer, key=dict(zip(first, places, strict=True)).__getitem__)
    assert kept == sorted(fewer, key=dict(zip(fewer, random_order(fewer), strict=True)).__getitem__)


def test_the_interval_holds_the_true_share() -> None:
    """Over 200 folders, where those with bad variants are any 8% of the paths, at least 93% of the samples cover."""
    covered = 0
    for folder in range(200):
        paths = [f"{folder}/{number}.png" for number in range(300)]
        decisions = [BAD if number < 24 else GOOD for number in range(300)]
        places = random_order(paths)
        found = share_of_bad([made for made, place in zip(decisions, places, strict=True) if place < 60], 300)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 24 / 300 <= found.high
    assert covered >= 0.93 * 200
