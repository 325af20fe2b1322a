"""Runs that differ in their seed alone, as one result: what the luck of training adds to the luck of the sample."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from robustaug.errors import RobustAugError

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
    if not (config.get("data") or {}).get("limit"):  # the seed chooses which images a limit keeps
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
