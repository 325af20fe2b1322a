"""What a random sample says about the share of bad variants.

The sample is the beginning of one random order of all variants, which follows from their paths alone: it cannot be
drawn again until it pleases, and a larger sample contains the smaller. Nothing is stated before all of it is decided,
because those that a person skips are not the average ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from robustaug.data.decisions import Decision
from robustaug.evaluation.statistics import accuracy_interval
from robustaug.randomness import derive_seed

_SUGGESTED = 150  # with none bad, the share lies below 2%


@dataclass(frozen=True)
class Share:
    """How many variants of a random sample are bad: rejected, or marked for relabelling.

    Attributes:
        size: Variants in the sample.
        decided: So many of them have a decision.
        bad: So many of them are bad.
        total: Variants altogether.
        low: Lower end of the 95% interval of the share of all; None before all of the sample is decided.
        high: Upper end.
    """

    size: int
    decided: int
    bad: int
    total: int
    low: float | None = None
    high: float | None = None

    def statement(self) -> str:
        """What may be said, in one or two sentences."""
        if self.low is None or self.high is None:
            so_far = f"{self.decided:,} of {self.size:,} decided, {self.bad:,} bad so far."
            if self.bad or self.size == self.total:
                return f"{so_far} The share of bad ones follows when all {self.size:,} are decided."
            could = _percent(none_bad(self.size, self.total))
            return (
                f"{so_far} If none of the {self.size:,} is bad, fewer than {could} of all {self.total:,} are "
                "(95% confidence)."
            )
        if self.size == self.total:
            return f"All {self.total:,} were looked at: {self.bad:,} are bad, {_percent(self.bad / self.total)}."
        if self.bad == 0:
            return (
                f"None of {self.size:,} is bad: fewer than {_percent(self.high)} of all {self.total:,} are "
                "(95% confidence, exact bound)."
            )
        return (
            f"{self.bad:,} of {self.size:,} are bad, {_percent(self.bad / self.size)}: {_percent(self.low)} to "
            f"{_percent(self.high)} of all {self.total:,} (95% interval, Wilson)."
        )


def random_order(paths: Sequence[str]) -> list[int]:
    """The place of each path in the random order, from 0."""
    chosen = sorted(range(len(paths)), key=lambda number: (derive_seed(0, paths[number], "review"), paths[number]))
    places = [0] * len(paths)
    for place, number in enumerate(chosen):
        places[number] = place
    return places


def suggested_size(total: int) -> int:
    """So many that a clean sample puts the share of bad variants below 2%, or all where there are fewer."""
    return min(_SUGGESTED, total)


def share_of_bad(sample: Sequence[Decision | None], total: int) -> Share:
    """The share of bad variants among all, by a simple random sample of them.

    With at least one bad variant the interval is Wilson's (1927) at 95%; with none, the exact one-sided 95% bound
    1 - 0.05^(1/n) (Clopper and Pearson 1934), of which the "rule of three", 3 / n, is the approximation. Both hold for
    sampling with replacement, and so are too wide rather than too narrow here.

    Args:
        sample: What was decided about each variant of the sample, None for nothing.
        total: Variants altogether.
    """
    verdicts = [made.verdict for made in sample if made is not None]
    bad = sum(verdict != "accept" for verdict in verdicts)
    if not sample or len(verdicts) < len(sample):
        return Share(len(sample), len(verdicts), bad, total)
    if len(sample) == total:
        return Share(total, total, bad, total, bad / total, bad / total)
    if bad == 0:
        return Share(len(sample), len(sample), 0, total, 0.0, none_bad(len(sample), total))
    interval = accuracy_interval(torch.tensor([verdict != "accept" for verdict in verdicts]))
    return Share(len(sample), len(sample), bad, total, interval.low, interval.high)


def none_bad(size: int, total: int) -> float:
    """Below which share a sample without a bad variant puts that of all, at 95%; with all looked at, none is left."""
    return 1 - 0.05 ** (1 / size) if 0 < size < total else float(size == 0)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
