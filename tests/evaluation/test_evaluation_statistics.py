"""Intervals, McNemar and Holm against published numbers and closed forms."""

from math import comb

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from robustaug.errors import RobustAugError
from robustaug.evaluation import accuracy_interval, holm, mcnemar
from robustaug.evaluation.statistics import paired_difference, samples_to_tell


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_as_newcombe_1998_prints_it(hits, n, low, high):
    accuracy = accuracy_interval(torch.arange(n) < hits)  # Newcombe 1998, table I, method 3
    assert accuracy.value == hits / n
    assert (round(accuracy.low, 4), round(accuracy.high, 4), accuracy.n) == (low, high, n)
    assert accuracy.to_dict() == {"value": hits / n, "low": accuracy.low, "high": accuracy.high, "n": n}


@given(st.integers(1, 400), st.floats(0, 1))
def test_wilson_ends_solve_their_quadratic(n, share):
    hits = round(n * share)
    accuracy = accuracy_interval(torch.arange(n) < hits)
    z = 1.959963984540054
    for end in (accuracy.low, accuracy.high):
        assert (accuracy.value - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / n, abs=1e-9)
    assert 0 <= accuracy.low <= accuracy.value <= accuracy.high <= 1


def test_an_accuracy_of_nothing_is_refused():
    with pytest.raises(RobustAugError, match="at least one sample"):
        accuracy_interval(torch.zeros(0, dtype=torch.bool))


def verdicts(both, only_a, only_b, neither):
    a = torch.tensor([True] * both + [True] * only_a + [False] * only_b + [False] * neither)
    b = torch.tensor([True] * both + [False] * only_a + [True] * only_b + [False] * neither)
    return a, b


@pytest.mark.parametrize(("only_a", "only_b"), [(1, 8), (8, 1), (5, 5), (0, 6), (3, 17)])
def test_mcnemar_is_the_binomial_tail(only_a, only_b):
    n, k = only_a + only_b, min(only_a, only_b)
    expected = min(1.0, 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n)
    assert mcnemar(*verdicts(40, only_a, only_b, 7)) == (only_a, only_b, pytest.approx(expected))


def test_mcnemar_without_a_discordant_pair():
    assert mcnemar(*verdicts(10, 0, 0, 3)) == (0, 0, 1.0)


def test_mcnemar_needs_the_same_samples():
    with pytest.raises(RobustAugError, match="same samples on both sides, got 3 and 4"):
        mcnemar(torch.ones(3, dtype=torch.bool), torch.ones(4, dtype=torch.bool))


def exact_power(n, share_a, share_b, level=0.05):
    """The chance that the exact McNemar test finds it, over all numbers of discordant pairs."""
    discordant = share_a + share_b
    total = 0.0
    for m in range(n + 1):
        weight = binom.pmf(m, n, discordant)
        if weight < 1e-9:
            continue
        rejected = [k for k in range(m + 1) if binomtest(k, m).pvalue <= level]
        total += weight * sum(binom.pmf(rejected, m, share_a / discordant))
    return total


@pytest.mark.parametrize(("only_a", "only_b", "n"), [(20, 5, 100), (24, 8, 100)])
def test_so_many_samples_have_the_power(only_a, only_b, n):
    for power in (0.8, 0.9):
        needed = samples_to_tell(only_a, only_b, n, power=power)
        # The exact test is more careful than the formula's normal one, by a few points of power.
        assert power - 0.05 <= exact_power(needed, only_a / n, only_b / n) <= power
    assert samples_to_tell(only_b, only_a, n) == samples_to_tell(only_a, only_b, n)


def test_samples_by_hand():
    # d = 0.1, s = 0.2: (1.959964 * 0.447214 + 0.841621 * sqrt(0.19))^2 / 0.01 = (0.876523 + 0.366854)^2 / 0.01
    assert samples_to_tell(15, 5, 100) == 155
    assert samples_to_tell(150, 50, 1000) == 155  # only the shares count
    assert samples_to_tell(15, 5, 100, level=0.01) > 155
    assert samples_to_tell(7, 7, 100) is None
    assert samples_to_tell(0, 0, 100) is None


def test_holm_by_hand():
    # Sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, then 0.04 * 1 raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.999))
def test_holm_rejects_what_the_stepwise_procedure_rejects(p_values, level):
    rejected = set()
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if (len(p_values) - rank) * p_values[index] > level:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(holm(p_values)) if p <= level} == rejected


def test_a_paired_difference_as_agresti_and_min_compute_it():
    # The approval ratings of Agresti's "Categorical Data Analysis" (1990, section 10.1): 794, 150, 86 and 570 of 1600.
    first = torch.tensor([True] * 944 + [False] * 656)
    second = torch.tensor([True] * 794 + [False] * 150 + [True] * 86 + [False] * 570)
    found = paired_difference(first, second)
    assert found.value == pytest.approx(-0.04)
    assert (round(found.low, 3), round(found.high, 3), found.n) == (-0.059, -0.021, 1600)  # Wald's there: the same
    assert found.low == pytest.approx(-64 / 1602 - 1.959964 * ((237 / 1602 - (64 / 1602) ** 2) / 1602) ** 0.5)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_paired_difference_turned_round_is_its_negative(pairs):
    a, b = torch.tensor(pairs).T
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert there.value == pytest.approx(-back.value)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert there.low < 0 < there.high or there.value != 0  # no difference found is not no difference


def test_several_verdicts_a_sample_are_averaged_first():
    a = torch.tensor([[True, True, False, False], [False, False, False, False], [True, True, True, True]])
    b = torch.tensor([[True, True, True, True], [True, False, False, False], [True, True, True, True]])
    found = paired_difference(a, b)  # the samples gain 0.5, 0.25 and 0: their standard deviation is 0.25
    assert found.value == pytest.approx(0.25)
    assert (found.low, found.high) == pytest.approx((0.25 - 1.959964 * 0.25 / 3**0.5, 0.25 + 1.959964 * 0.25 / 3**0.5))


def test_a_difference_needs_the_same_samples():
    with pytest.raises(RobustAugError, match="same samples on both sides, got 3 and 2"):
        paired_difference(torch.ones(3).bool(), torch.ones(2).bool())
