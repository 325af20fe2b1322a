"""Groups and bias in words: gaps, and those that augmentation widened."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from robustaug.evaluation.report.wording import metric_names, metric_title, percent, plural, signed_points

Report = Mapping[str, Any]


class GapRow(NamedTuple):
    """The gap of one arm between the groups of one attribute; ``widening`` is None for the arm that it is against."""

    attribute: str
    metric: str
    arm: str
    against: str | None
    gap: Mapping[str, Any]
    widening: Mapping[str, Any] | None

    @property
    def is_wider(self) -> bool:
        """Whether it is wider by more than the sample can explain."""
        return self.widening is not None and bool(self.widening["low"] > 0)


def gap_rows(report: Report) -> list[GapRow]:
    """Every gap of the report, by attribute, metric and arm."""
    rows = []
    for row in report.get("groups") or []:
        metrics = dict.fromkeys(metric for found in row["arms"].values() for metric in found)
        for metric in metrics:
            for arm, found in row["arms"].items():
                entry = found.get(metric) or {}
                if "gap" in entry:
                    widening = entry.get("widening")
                    rows.append(GapRow(row["attribute"], metric, arm, row["against"], entry["gap"], widening))
    return rows


def widened(report: Report) -> list[str]:
    """A sentence for each gap that an arm has widened beyond what the sample can explain."""
    return [
        f"{metric_title(row.metric)}: arm {row.arm} has {percent(row.gap['value'])} points between the "
        f"{_groups(row)}, {points(row.widening)} against arm {row.against}."
        for row in gap_rows(report)
        if row.is_wider and row.widening is not None
    ]


def groups_line(report: Report) -> str | None:
    """One sentence on all gaps, for the summary; None where there is none."""
    rows = gap_rows(report)
    if not rows:
        return None
    largest = max(rows, key=lambda row: float(row.gap["value"]))
    sentence = (
        f"Groups: the largest gap is {percent(largest.gap['value'])} points, {metric_title(largest.metric)}, arm "
        f"{largest.arm}, between the {_groups(largest)}"
    )
    compared = sum(row.widening is not None for row in rows)
    if not compared:
        return f"{sentence}."
    if told := widened(report):
        return f"{sentence}. **Augmentation widened {plural(len(told), 'gap')}**: {' '.join(told)}"
    of = "the one gap that was" if compared == 1 else f"any of {compared} gaps"
    return f"{sentence}; the sample does not show that augmentation widened {of} compared."


def points(estimate: Mapping[str, Any]) -> str:
    """``+11.0 [+3.1, +18.7]``, in points of percent."""
    low, high = signed_points(estimate["low"]), signed_points(estimate["high"])
    return f"{signed_points(estimate['value'])} [{low}, {high}]"


def too_small(row: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """(metric, groups with too few images to tell anything): the same for all arms, of one that has them."""
    found: dict[str, list[str]] = {}
    for metrics in row["arms"].values():
        for metric, entry in metrics.items():
            if entry["too_small"]:
                found.setdefault(metric, entry["too_small"])
    return list(found.items())


def training_arms(row: Mapping[str, Any]) -> list[str]:
    """The arms that draw from variants on disk."""
    arms = dict.fromkeys(arm for value in row.get("training") or [] for arm in value["variants"])
    return [arm for arm in arms if any(sum(value["variants"].get(arm, {}).values()) for value in row["training"])]


class BalancedClass(NamedTuple):
    """A class before and after, and by metric (accuracy without, accuracy with, difference); None: not measured."""

    name: str
    before: int
    after: int
    changes: list[tuple[str, tuple[float, float, Mapping[str, Any]] | None]]


def balance_tables(report: Report) -> list[tuple[str, Mapping[str, Any], list[str], list[BalancedClass]]]:
    """For each arm with a balance: its name, its entry, the metrics of its table, and a row a class."""
    tables = []
    for arm, entry in ((report.get("balance") or {}).get("arms") or {}).items():
        metrics = [name for name in metric_names(report) if any(name in row["difference"] for row in entry["classes"])]
        rows = [
            BalancedClass(
                row["class"],
                row["before"],
                row["after"],
                [(metric, _change(report, arm, entry["against"], row, metric)) for metric in metrics],
            )
            for row in entry["classes"]
        ]
        tables.append((arm, entry, metrics, rows))
    return tables


def _change(
    report: Report, arm: str, against: str | None, row: Mapping[str, Any], metric: str
) -> tuple[float, float, Mapping[str, Any]] | None:
    change = row["difference"].get(metric)
    ends = [
        report["arms"].get(name, {}).get("per_class", {}).get(metric, {}).get(row["class"]) for name in (against, arm)
    ]
    return (ends[0]["value"], ends[1]["value"], change) if change and all(ends) else None


def group_names(row: Mapping[str, Any], metric: str) -> list[str]:
    """The groups that any arm has images of, in the report's order."""
    return list(
        dict.fromkeys(name for found in row["arms"].values() for name in found.get(metric, {"values": {}})["values"])
    )


def _groups(row: GapRow) -> str:
    plural_name = "classes" if row.attribute == "class" else f"groups of {row.attribute}"
    return f"{plural_name} {row.gap['best']} and {row.gap['worst']}"
