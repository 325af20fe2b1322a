"""The page's sections: which of them a run has data for, and what their tables show."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import colormaps

from robustaug.evaluation.report.wording import ROBUST_METRICS, eps_text, metric_names, own_radius, plain

Report = Mapping[str, Any]
Interval = Mapping[str, Any]

TITLES = {
    "verdict": "Verdict",
    "threat": "Threat model",
    "results": "Results",
    "eps": "Accuracy against eps",
    "distances": "Smallest distances",
    "stages": "AutoAttack by stages",
    "transfer": "Transfer",
    "corruptions": "Common corruptions",
    "strength": "Accuracy against style strength",
    "shape": "Shape or texture",
    "classes": "Classes",
    "groups": "Groups and bias",
    "balance": "Balance",
    "confusion": "Confusions",
    "adversarial": "Adversarial samples",
    "stylised": "Stylised samples",
    "training": "Training",
    "comparisons": "Comparisons between arms",
    "checks": "Checks",
    "data": "Data",
    "parameters": "Parameters",
    "provenance": "Provenance",
    "reproduce": "How to reproduce",
}
_ALWAYS = ("verdict", "threat", "results", "checks", "data", "provenance", "reproduce")
_MATRIX_CLASSES = 20  # more make a matrix that nobody reads; the pairs are listed for any number
_PAIRS = 5  # confusions listed for an arm


class Cell(NamedTuple):
    """A coloured table cell: its number and its style."""

    value: float
    style: str


class Confused(NamedTuple):
    """How many attacked images of one class were taken for another, of how many of the class."""

    label: str
    taken_for: str
    images: int
    of: int


def sections(shown: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and title of each section that has something to show, in reading order.

    Args:
        shown: What the page's template gets; a section without data has an empty entry of its own name.
    """
    charts = shown["charts"]
    return [(name, title) for name, title in TITLES.items() if name in _ALWAYS or name in charts or shown.get(name)]


def heat(share: float, palette: str = "YlGnBu_r") -> str:
    """The style of a cell: a background for a share between 0 and 1, with black or white text, whichever reads better.

    The background is the same on light, dark and printed pages. ``YlGnBu`` (Harrower and Brewer 2003, ColorBrewer)
    keeps its order without colour vision and in grey; reversed, what fails is dark.
    """
    red, green, blue, _ = colormaps[palette](min(1.0, max(0.0, share)))
    # Relative luminance and contrast after WCAG 2.
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    ink = "#000" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "#fff"
    background = "".join(f"{round(255 * level):02x}" for level in (red, green, blue))
    return f"background: #{background}; color: {ink}"


def corruptions(report: Report) -> list[tuple[str, list[int], list[tuple[str, list[Cell | None]]]]]:
    """For each arm that was measured: its name, the severities, and a row a corruption, its mean last."""
    tables = []
    for arm, entry in report["arms"].items():
        by_name = {
            name: {level["severity"]: level["value"] for level in levels}
            for name, levels in (entry.get("corruptions") or {}).items()
            if levels
        }
        if not by_name:
            continue
        severities = sorted({severity for levels in by_name.values() for severity in levels})
        rows = []
        for name, levels in by_name.items():
            values = [levels.get(severity) for severity in severities]
            mean = sum(levels.values()) / len(levels)
            rows.append((name, [None if v is None else Cell(v, heat(v)) for v in (*values, mean)]))
        tables.append((arm, severities, rows))
    return tables


def class_metrics(report: Report) -> list[str]:
    """The metrics with an accuracy by class, in reading order."""
    found = {metric for entry in report["arms"].values() for metric in entry.get("per_class") or {}}
    return [name for name in metric_names(report) if name in found]


def worst_classes(report: Report) -> list[tuple[str, str, dict[str, Any]]]:
    """(metric, arm, the class of the lowest accuracy with its interval), for every metric that has one."""
    return [
        (metric, arm, entry["worst_class"][metric])
        for metric in metric_names(report)
        for arm, entry in report["arms"].items()
        if metric in (entry.get("worst_class") or {})
    ]


def confusions(report: Report) -> list[tuple[str, list[tuple[str, list[Confused], list[list[Cell]]]]]]:
    """For each attack and arm: the most frequent confusions, and the matrix where it is small enough to read.

    A matrix that does not fit the classes is left out.
    """
    classes = report["data"]["classes"]
    attacks: dict[str, list[tuple[str, list[Confused], list[list[Cell]]]]] = {}
    for arm, entry in report["arms"].items():
        for attack, counts in (entry.get("confusion") or {}).items():
            if [len(row) for row in counts] != [len(classes)] * len(classes):
                continue
            pairs = [
                Confused(classes[label], classes[other], count, sum(row))
                for label, row in enumerate(counts)
                for other, count in enumerate(row)
                if count and other != label
            ]
            pairs.sort(key=lambda pair: -pair.images)  # stable: in the order of the classes where equal
            matrix = [[_confusion_cell(count, sum(row)) for count in row] for row in counts]
            shown = matrix if len(classes) <= _MATRIX_CLASSES else []
            attacks.setdefault(attack, []).append((arm, pairs[:_PAIRS], shown))
    names = [*ROBUST_METRICS, *(name for name in attacks if name not in ROBUST_METRICS)]
    return [(name, attacks[name]) for name in names if name in attacks]


def _confusion_cell(count: int, of: int) -> Cell:
    return Cell(count, heat(0.9 * count / of, "Oranges") if count else "")


def stages(report: Report) -> list[tuple[str, list[str], dict[str, dict[str, Interval]]]]:
    """For each AutoAttack: its name, its stages in order, and by arm the accuracy after each."""
    attacks: dict[str, dict[str, dict[str, Interval]]] = {}
    for arm, entry in report["arms"].items():
        for attack, after in (entry.get("stages") or {}).items():
            attacks.setdefault(attack, {})[arm] = after
    return [
        (attack, list(dict.fromkeys(stage for after in arms.values() for stage in after)), arms)
        for attack, arms in attacks.items()
    ]


def beside(report: Report) -> list[tuple[str, str]]:
    """The attacks of another norm or eps than the threat model's: (metric, norm and eps)."""
    return [(name, radius) for name in metric_names(report) if (radius := own_radius(report, name))]


def by_arm(report: Report, name: str) -> dict[str, Any]:
    """An entry of the arms that have it, such as ``transfer`` or ``distances``."""
    return {arm: entry[name] for arm, entry in report["arms"].items() if entry.get(name)}


def radius(eps: float, stated: float | str) -> str:
    """A measured radius to three digits, in 8-bit levels where the stated eps is: ``2.31/255``."""
    return f"{255 * eps:.3g}/255" if eps and eps_text(stated).endswith("/255") else f"{eps:.3g}"


def not_measured(report: Report) -> list[tuple[str, str, list[str]]]:
    """(metric, why, the arms), arms with the same reason together."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for arm, entry in report["arms"].items():
        for metric, why in (entry.get("not_measured") or {}).items():
            reasons.setdefault((metric, why), []).append(arm)
    return [(metric, why, arms) for (metric, why), arms in reasons.items()]


def reproduce(report: Report) -> str:
    """The command that measures the same again: of a run, or of an evaluation of one model."""
    config = report.get("config") or {}
    if "checkpoint" not in config:
        return "robustaug run config.toml --out repeated"
    threat, protocol = report["threat"], (report.get("protocol") or {}).get("name", "quick")
    found = config.get("given")
    given = {name: value for name, value in (found if isinstance(found, dict) else {}).items() if value is not None}
    model, data = (
        plain(given.pop(name, other))
        for name, other in (("model", Path(plain(config["checkpoint"])).name), ("data", report["data"]["name"]))
    )
    options = {
        "--protocol": protocol if protocol in ("quick", "standard") else f"{protocol}.toml",
        "--norm": threat["norm"],
        "--eps": eps_text(threat["eps"]),
        "--split": report["data"].get("split", "test"),
        "--seed": report["seed"],
        **given,
        "--out": "repeated",
    }
    words = ["robustaug", "evaluate", model, data]
    for name, values in options.items():
        for value in values if isinstance(values, list) else [values]:
            words += [name, str(value)]
    return shlex.join(words)
