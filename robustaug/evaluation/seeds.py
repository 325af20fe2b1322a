"""Runs that differ in their seed alone, as one result: what the luck of training adds to the luck of the sample."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev, variance
from typing import Any, NamedTuple

from scipy.stats import t
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.evaluation.statistics import Difference, paired_difference

_NOT_COMPARED = ("name", "seed")  # of the configuration


@dataclass(frozen=True)
class Spread:
    """One accuracy over several seeds, all as fractions.

    Attributes:
        mean: of the seeds' accuracies.
        deviation: their sample standard deviation (division by seeds - 1).
        low: the smallest of them.
        high: the largest of them.
        n: test images behind each of them.
        seeds: how many there are.
    """

    mean: float
    deviation: float
    low: float
    high: float
    n: int
    seeds: int

    def to_dict(self) -> dict[str, float]:
        """``{"mean", "deviation", "low", "high", "n", "seeds"}``."""
        return asdict(self)


class SeedVerdicts(NamedTuple):
    """Two classifiers of one seed on the same samples.

    Attributes:
        keys: of the samples.
        before: bool (N, ...), the first classifier's verdicts, in the order of the keys.
        after: bool, the same shape: the second one's.
    """

    keys: Sequence[str]
    before: Tensor
    after: Tensor


@dataclass(frozen=True)
class SeedDifference:
    """What one way of training has more than another, over several seeds, as fractions.

    Attributes:
        value: mean of the seeds' differences.
        low: lower end of its 95% interval.
        high: upper end.
        n: different samples behind it.
        by_seed: each seed's own difference, with the interval for that seed's two classifiers.
    """

    value: float
    low: float
    high: float
    n: int
    by_seed: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """``{"value", "low", "high", "n", "by_seed": [{"value", "low", "high", "n"}, ...]}``."""
        return asdict(self) | {"by_seed": [each._asdict() for each in self.by_seed]}


def difference_over_seeds(seeds: Sequence[SeedVerdicts]) -> SeedDifference:
    """Accuracy of the second minus accuracy of the first, over samples and seeds, with a 95% interval.

    Two kinds of luck are in it: which samples were measured, and which seed trained. The variance of the mean is the
    sum of what each alone would leave, as of data clustered in two ways (Cameron, Gelbach and Miller 2011, equation
    2.11, without the term that they subtract: a luck of one sample under one seed counts twice, and the interval is
    rather too wide than too narrow). A sample that several seeds share is one cluster. The quantile is Student's, with
    the degrees of freedom of Welch and Satterthwaite: three seeds tell little about seeds. As in Agresti and Min
    (2005), half a sample more on either side keeps the width above 0 where the two never differ.

    Of one seed it is ``paired_difference``, which knows nothing of the luck of the seed.

    Raises:
        RobustAugError: no seed, or as ``paired_difference``.
    """
    if not seeds:
        raise RobustAugError("a difference over seeds needs at least one seed")
    by_seed = tuple(paired_difference(seed.before, seed.after) for seed in seeds)
    clusters: dict[str, float] = defaultdict(float)
    for seed, difference in zip(seeds, by_seed, strict=True):
        gained = (seed.after.double() - seed.before.double()).reshape(len(seed.keys), -1).mean(1)
        for key, influence in zip(seed.keys, (gained - difference.value).tolist(), strict=True):
            clusters[key] += influence / (difference.n * len(seeds))
    n = len(clusters)
    if len(seeds) == 1 or n == 1:
        return SeedDifference(*by_seed[0], by_seed)
    values = [difference.value for difference in by_seed]
    of_samples = n / (n - 1) * sum(influence**2 for influence in clusters.values()) + 1 / n**2
    of_seeds = variance(values) / len(values)
    whole = of_samples + of_seeds
    freedom = whole**2 / (of_samples**2 / (n - 1) + of_seeds**2 / (len(values) - 1))
    mean, reach = fmean(values), float(t.ppf(0.975, freedom)) * whole**0.5
    return SeedDifference(mean, max(-1.0, mean - reach), min(1.0, mean + reach), n, by_seed)


def across_seeds(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Spread]]:
    """Mean and spread of every metric of every arm over runs with different seeds.

    Args:
        reports: what ``report.json`` holds, by a name for messages (the run folder); two or more.

    Returns:
        By arm, then by metric, in the first report's order.

    Raises:
        RobustAugError: fewer than two reports, two of one seed, or reports that differ in more than their seed: in
            the program's version, the data, the threat model, the configuration, the arms, or what was measured on how
            many images.
    """
    if len(reports) < 2:
        raise RobustAugError("a spread over seeds needs at least two runs; name runs that differ in their seed")
    (first_name, first), *others = reports.items()
    expected = dict(_identity(first))
    seen = {first["seed"]: first_name}
    for name, report in others:
        found = dict(_identity(report))
        differing = [key for key in expected | found if expected.get(key) != found.get(key)]
        if differing:
            what = f"{differing[0]} ({expected.get(differing[0])} and {found.get(differing[0])})"
            more = f" and {len(differing) - 1} more settings" if differing[1:] else ""
            raise RobustAugError(
                f"{first_name} and {name} differ in {what}{more}; name runs that differ in their seed only"
            )
        if report["seed"] in seen:
            raise RobustAugError(
                f"{seen[report['seed']]} and {name} both have seed {report['seed']}; name each seed's run once"
            )
        seen[report["seed"]] = name
    return {
        arm: {metric: _spread(reports, arm, metric) for metric in entry["metrics"]}
        for arm, entry in first["arms"].items()
    }


def _spread(reports: Mapping[str, Mapping[str, Any]], arm: str, metric: str) -> Spread:
    measured = [report["arms"][arm]["metrics"][metric] for report in reports.values()]
    values = [row["value"] for row in measured]
    return Spread(fmean(values), stdev(values), min(values), max(values), measured[0]["n"], len(values))


def _identity(report: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Everything that must be equal, under the name of its place in the report."""
    config, data = report.get("config") or {}, report["data"]
    yield "robustaug", report["robustaug"]
    yield from (("data." + key, data.get(key)) for key in ("classes", "image_size", "split"))
    of_data = config.get("data")  # a report of one evaluation has its name there
    if not isinstance(of_data, Mapping) or not of_data.get("limit"):  # the seed chooses which images a limit keeps
        yield "data.fingerprint", data.get("fingerprint")
    yield from _leaves("threat", report["threat"])
    for key, value in config.items():
        if key not in _NOT_COMPARED:
            yield from _leaves(key, value)
    for arm, entry in report["arms"].items():
        yield from ((f"n of {metric} of arm {arm}", row["n"]) for metric, row in entry["metrics"].items())


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield place, sorted(value)  # an empty section is one, too
        for key, item in value.items():
            yield from _leaves(f"{place}.{key}", item)
    else:
        yield place, value
