"""Accuracies with intervals, and comparisons of two classifiers on the same samples."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from scipy.stats import binomtest, norm
from torch import Tensor

from robustaug.errors import RobustAugError


@dataclass(frozen=True)
class Accuracy:
    """An accuracy with its 95% interval, all as fractions.

    Attributes:
        value: correct samples over all samples, or the mean of the samples' own accuracies.
        low: lower end of the interval.
        high: upper end of the interval.
        n: number of samples.
    """

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float]:
        """``{"value", "low", "high", "n"}``, as reports have it."""
        return asdict(self)


class McNemar(NamedTuple):
    """The exact McNemar test of two classifiers on the same samples.

    Attributes:
        only_a: samples that only the first classifier has right.
        only_b: samples that only the second classifier has right.
        p_value: two-sided, that such a split or a more uneven one arises when both are equally good.
    """

    only_a: int
    only_b: int
    p_value: float


class Difference(NamedTuple):
    """What one classifier has more than another on the same samples, as a fraction, with its interval (95%).

    Attributes:
        value: accuracy of the second minus accuracy of the first.
        low: lower end of the interval.
        high: upper end of the interval.
        n: number of samples.
    """

    value: float
    low: float
    high: float
    n: int


class Estimate(NamedTuple):
    """A number with the ends of its interval."""

    value: float
    low: float
    high: float

    def __neg__(self) -> "Estimate":
        return Estimate(-self.value, -self.high, -self.low)


def accuracy_interval(correct: Tensor, level: float = 0.95) -> Accuracy:
    """Share of true values in a bool tensor (N,), with the score interval of Wilson (1927) of a level of confidence.

    Raises:
        RobustAugError: no sample.
    """
    n, hits = correct.numel(), int(correct.sum())
    if n == 0:
        raise RobustAugError("an accuracy needs at least one sample; the test split is empty")
    interval = binomtest(hits, n).proportion_ci(confidence_level=level, method="wilson")
    return Accuracy(value=hits / n, low=float(interval.low), high=float(interval.high), n=n)


def mean_interval(shares: Tensor) -> Accuracy:
    """Mean of the samples' own accuracies (N,), each over several trials, with a 95% normal interval, cut to [0, 1].

    The interval is that of a mean of N independent numbers, mean and 1.96 standard errors on both sides. Trials of one
    sample succeed and fail together, so counting them one by one would make it too narrow. Two samples or more have it;
    of one alone nothing is known, and the interval is [0, 1].

    Raises:
        RobustAugError: no sample.
    """
    n = shares.numel()
    if n == 0:
        raise RobustAugError("an accuracy needs at least one sample; the test split is empty")
    mean = float(shares.double().mean())
    spread = float(norm.ppf(0.975) * shares.double().std() / n**0.5) if n > 1 else 1.0
    return Accuracy(value=mean, low=max(0.0, mean - spread), high=min(1.0, mean + spread), n=n)


def mcnemar(a_correct: Tensor, b_correct: Tensor) -> McNemar:
    """Exact McNemar (1947) test: a two-sided binomial test on the samples where just one classifier is right.

    Args:
        a_correct: bool (N,), the first classifier's verdicts.
        b_correct: bool (N,), the second one's on the same samples in the same order.

    Raises:
        RobustAugError: the two do not have the same shape.
    """
    if a_correct.shape != b_correct.shape:
        raise RobustAugError(
            f"McNemar's test needs the same samples on both sides, got {a_correct.numel()} and {b_correct.numel()}"
        )
    only_a = int((a_correct & ~b_correct).sum())
    only_b = int((b_correct & ~a_correct).sum())
    # Without a discordant pair there is nothing to tell the two apart.
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemar(only_a, only_b, p_value)


def paired_difference(a_correct: Tensor, b_correct: Tensor, level: float = 0.95) -> Difference:
    """Accuracy of b minus accuracy of a on the same samples, with its interval.

    For one verdict a sample the interval is that of Agresti and Min (2005, section 2.4): Wald's, after half a sample is
    added to each cell of the 2 x 2 table, so that two classifiers that never differ still get a width. Several verdicts
    a sample, (N, ...), are averaged first, and the interval is that of the mean of N independent differences.

    Args:
        a_correct: bool (N, ...), the first classifier's verdicts.
        b_correct: bool, the same shape: the second one's on the same samples in the same order.
        level: of confidence.

    Raises:
        RobustAugError: the two do not have the same shape, or there is no sample.
    """
    if a_correct.shape != b_correct.shape or len(a_correct) == 0:
        raise RobustAugError(
            f"a difference needs the same samples on both sides, got {len(a_correct)} and {len(b_correct)}"
        )
    n, z = len(a_correct), float(norm.ppf((1 + level) / 2))
    gained = (b_correct.double() - a_correct.double()).reshape(n, -1).mean(1)
    value = float(gained.mean())
    if a_correct.ndim > 1:
        centre, error = value, float(gained.std()) / n**0.5 if n > 1 else 1.0
    else:
        only_a, only_b = int((gained < 0).sum()) + 0.5, int((gained > 0).sum()) + 0.5
        centre = (only_b - only_a) / (n + 2)
        error = (((only_a + only_b) / (n + 2) - centre**2) / (n + 2)) ** 0.5
    return Difference(value, max(-1.0, centre - z * error), min(1.0, centre + z * error), n)


def sum_of(parts: Iterable[Estimate]) -> Estimate:
    """The sum of independent estimates, with the interval that follows from theirs.

    Zou and Donner (2008, "Construction of confidence limits about effect measures: a general approach", Statistics in
    Medicine 27, equation 3, for a sum): the sum, and on each side the root of the summed squares of the parts' own
    distances. Of Wilson's intervals of two groups, p and -q, it makes Newcombe's (1998, method 10).
    """
    parts = list(parts)
    value = math.fsum(part.value for part in parts)
    below = math.hypot(*(part.value - part.low for part in parts))
    above = math.hypot(*(part.high - part.value for part in parts))
    return Estimate(value, value - below, value + above)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for testing them all (Holm 1979, step-down), in the given order.

    The k-th smallest of m is multiplied by m - k + 1; then none is smaller than one before it, and none exceeds 1.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def samples_to_tell(only_a: int, only_b: int, n: int, *, level: float = 0.05, power: float = 0.8) -> int | None:
    """How many samples McNemar's test would need to tell two classifiers apart, if they differ as they did on these.

    Connor (1987, "Sample size for testing differences in proportions for the paired-sample design", Biometrics 43):
    with the shares d = |only_a - only_b| / n and s = (only_a + only_b) / n,
    (z(1 - level / 2) sqrt(s) + z(power) sqrt(s - d^2))^2 / d^2.

    Args:
        only_a: samples that only the first classifier has right.
        only_b: samples that only the second one has right.
        n: samples in total, at least ``only_a + only_b``.
        level: two-sided significance level of the test.
        power: probability that it then finds the difference.

    Returns:
        The number, rounded up; None where there was no difference, which no number would tell.
    """
    if only_a == only_b:
        return None
    difference, discordant = abs(only_a - only_b) / n, (only_a + only_b) / n
    sure, found = norm.ppf(1 - level / 2), norm.ppf(power)
    spread = sure * discordant**0.5 + found * (discordant - difference**2) ** 0.5
    return math.ceil(float(spread**2 / difference**2))
