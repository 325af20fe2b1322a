"""The verdict: a few sentences made from the measured numbers, and nothing else."""

from collections.abc import Mapping
from typing import Any

from robustaug.evaluation.report.wording import (
    METRIC_MEANINGS,
    ROBUST_METRICS,
    SIGNIFICANCE,
    effort,
    eps_text,
    interval,
    metric_title,
    norm_text,
    p_value,
    percent,
)

_LISTED = 4  # pairs named in a sentence before it points at the table


def verdict(report: Mapping[str, Any]) -> list[str]:
    """Plain sentences: accuracy under attack, its cost on clean images, unseen style, and what is not told apart."""
    sentences = [_under_attack(report), _clean_cost(report), _unseen_style(report), _undecided(report)]
    return [sentence for sentence in sentences if sentence]


def robust_metric(report: Mapping[str, Any]) -> str | None:
    """The strongest attack that any arm was measured under, or None."""
    return next((name for name in ROBUST_METRICS if _measured(report, name)), None)


def best_arm(report: Mapping[str, Any]) -> str | None:
    """The arm with the highest accuracy under the strongest measured attack, or None."""
    metric = robust_metric(report)
    if metric is None:
        return None
    measured = _measured(report, metric)
    return max(measured, key=lambda arm: measured[arm]["value"])


def reference_arm(report: Mapping[str, Any]) -> str:
    """The arm that the others are held against: ``clean`` where there is one, else the first."""
    return "clean" if "clean" in report["arms"] else next(iter(report["arms"]))


def failed_checks(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The checks that did not pass."""
    return [check for check in report["checks"] if not check["passed"]]


def comparison(report: Mapping[str, Any], metric: str, first: str, second: str) -> dict[str, Any] | None:
    """The comparison of two arms on one metric, in either order, or None."""
    for row in report.get("comparisons") or []:
        if row["metric"] == metric and {row["arm_a"], row["arm_b"]} == {first, second}:
            return dict(row)
    return None


def _stated(metric: Mapping[str, Any]) -> str:
    return f"{percent(metric['value'])}% {interval(metric)}"


def _measured(report: Mapping[str, Any], metric: str) -> dict[str, dict[str, Any]]:
    return {name: arm["metrics"][metric] for name, arm in report["arms"].items() if metric in arm["metrics"]}


def _under_attack(report: Mapping[str, Any]) -> str:
    metric, best = robust_metric(report), best_arm(report)
    if metric is None or best is None:
        return "No arm was measured under attack: this report says nothing about adversarial robustness."
    measured = _measured(report, metric)
    threat = f"{norm_text(report['threat']['norm'])} eps {eps_text(report['threat']['eps'])}"
    with_effort = f" with {effort(report, metric)}" if effort(report, metric) else ""
    text = (
        f"Under {metric_title(metric)}{with_effort} at {threat}, the arm “{best}” classifies "
        f"{_stated(measured[best])} of {measured[best]['n']:,} test images correctly"
    )
    reference = reference_arm(report)
    if best != reference and reference in measured:
        return (
            f"{text}; “{reference}” keeps {_stated(measured[reference])}{_not_told(report, metric, best, reference)}."
        )
    others = {name: numbers for name, numbers in measured.items() if name != best}
    if others:
        second = max(others, key=lambda arm: others[arm]["value"])
        return f"{text}; no other arm does better, and “{second}” comes next with {_stated(others[second])}."
    return f"{text}."


def _clean_cost(report: Mapping[str, Any]) -> str:
    measured = _measured(report, "clean")
    best, reference = best_arm(report) or reference_arm(report), reference_arm(report)
    if best not in measured:
        return ""
    text = f"On unchanged images “{best}” scores {_stated(measured[best])}"
    if best == reference or reference not in measured:
        return f"{text}."
    # The difference of the rounded numbers, so that a reader who subtracts them finds the same.
    points = float(percent(measured[best]["value"])) - float(percent(measured[reference]["value"]))
    change = "the same" if abs(points) < 0.05 else f"{abs(points):.1f} points {'less' if points < 0 else 'more'}"
    return (
        f"{text}, {change} {'as' if change == 'the same' else 'than'} “{reference}” with "
        f"{_stated(measured[reference])}{_not_told(report, 'clean', best, reference)}."
    )


def _unseen_style(report: Mapping[str, Any]) -> str:
    measured = _measured(report, "unseen_style")
    if not measured:
        return ""
    best = max(measured, key=lambda arm: measured[arm]["value"])
    text = (
        f"On {measured[best]['n']:,} test images {METRIC_MEANINGS['unseen_style']}, “{best}” scores highest with "
        f"{_stated(measured[best])}"
    )
    reference = reference_arm(report)
    if best == reference or reference not in measured:
        return f"{text}."
    return (
        f"{text}; “{reference}” reaches {_stated(measured[reference])}"
        f"{_not_told(report, 'unseen_style', best, reference)}."
    )


def _not_told(report: Mapping[str, Any], metric: str, first: str, second: str) -> str:
    row = comparison(report, metric, first, second)
    if row is None or row["p_value_holm"] < SIGNIFICANCE:
        return ""
    return f", a difference that this sample cannot tell from chance (Holm {p_value(row['p_value_holm'])})"


def _undecided(report: Mapping[str, Any]) -> str:
    if len(report["arms"]) < 2:
        return ""
    rows = report.get("comparisons") or []
    if not rows:
        return "The arms were not compared sample by sample, so small differences between them mean nothing."
    undecided = [row for row in rows if row["p_value_holm"] >= SIGNIFICANCE]
    if not undecided:
        return (
            f"All {len(rows)} differences between arms that were tested hold at the 5% level after Holm's correction."
        )
    pairs = [
        f"{metric_title(row['metric'])}, “{row['arm_a']}” and “{row['arm_b']}” ({p_value(row['p_value_holm'])})"
        for row in undecided[:_LISTED]
    ]
    if len(undecided) > _LISTED:
        pairs.append(f"{len(undecided) - _LISTED} more pairs listed below")
    return (
        f"Of {len(rows)} tested differences the sample cannot tell {len(undecided)} from chance "
        f"(McNemar, Holm-corrected): {'; '.join(pairs)}."
    )
