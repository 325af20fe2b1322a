"""The verdict: a few sentences made from the measured numbers, and nothing else."""

from collections.abc import Mapping
from typing import Any

from robustaug.evaluation.report.wording import (
    METRIC_MEANINGS,
    ROBUST_METRICS,
    SIGNIFICANCE,
    effort,
    eps_text,
    images,
    interval,
    measured_image,
    metric_title,
    norm_text,
    p_value,
    percent,
    plural,
)
from robustaug.evaluation.statistics import samples_to_tell

_LISTED = 4  # pairs named in a sentence; more are counted


def verdict(report: Mapping[str, Any]) -> list[str]:
    """Plain sentences: accuracy under attack, and what puts it in doubt; its cost on clean images; unseen style."""
    under_attack = " ".join(filter(None, [_under_attack(report), _in_doubt(report)]))
    sentences = [under_attack, _clean_cost(report), _unseen_style(report)]
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


def doubts(report: Mapping[str, Any], arm: str) -> list[str]:
    """Names of the failed checks of an arm, and of those of the data, which are every arm's."""
    return [check["name"] for check in failed_checks(report) if check["arm"] in (arm, None)]


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


def _leaders(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The arms with the highest accuracy; those that a reader sees as equal (one decimal) tie."""
    highest = percent(max(metric["value"] for metric in measured.values()))
    return [arm for arm, metric in measured.items() if percent(metric["value"]) == highest]


def _named(arms: list[str]) -> str:
    names = [f"“{arm}”" for arm in arms]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _all_of(arms: list[str]) -> str:
    return "both arms" if len(arms) == 2 else f"all {len(arms)} arms"


def _under_attack(report: Mapping[str, Any]) -> str:
    metric = robust_metric(report)
    if metric is None:
        return "No arm was measured under attack: this report says nothing about adversarial robustness."
    measured = _measured(report, metric)
    leaders, reference = _leaders(measured), reference_arm(report)
    first = measured[leaders[0]]
    threat = f"{norm_text(report['threat']['norm'])} eps {eps_text(report['threat']['eps'])}"
    with_effort = f" with {effort(report, metric)}" if effort(report, metric) else ""
    under = f"Under {metric_title(metric)}{with_effort} at {threat}"
    score = f"{_stated(first)} of {images(report, first['n'])} correctly"
    if len(leaders) == 1:
        text = f"{under}, the arm {_named(leaders)} classifies {score}{_rivals(report, metric, leaders[0])}"
    elif len(leaders) == len(measured):
        return f"{under}, {_all_of(leaders)} tie: each classifies {score}."
    else:
        text = f"{under}, the arms {_named(leaders)} tie: each classifies {score}"
    others = {name: numbers for name, numbers in measured.items() if name not in leaders}
    if reference in others:
        doubt = _not_told(report, metric, leaders[0], reference) if len(leaders) == 1 else ""
        return f"{text}; “{reference}” keeps {_stated(measured[reference])}{doubt}."
    if others:
        second = _leaders(others)
        come = f"{_named(second)} {'comes' if len(second) == 1 else 'come'} next with {_stated(others[second[0]])}"
        return f"{text}; no other arm does better, and {come}."
    return f"{text}."


def _in_doubt(report: Mapping[str, Any]) -> str:
    metric = robust_metric(report)
    failed = {arm: doubts(report, arm) for arm in _leaders(_measured(report, metric))} if metric else {}
    doubted = [arm for arm, names in failed.items() if names]
    if not doubted:
        return ""
    names = list(dict.fromkeys(name for arm in doubted for name in failed[arm]))
    listed = "; ".join(names[:_LISTED]) + (f"; and {len(names) - _LISTED} more" if names[_LISTED:] else "")
    return f"That number of {_named(doubted)} is in doubt, for {plural(len(names), 'check')} failed: {listed}."


def _clean_cost(report: Mapping[str, Any]) -> str:
    measured = _measured(report, "clean")
    robust = _measured(report, robust_metric(report) or "clean")
    leaders = [arm for arm in _leaders(robust) if arm in measured] if robust else []
    if len(leaders) > 1:
        return _clean_of_tied({arm: measured[arm] for arm in leaders})
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


def _clean_of_tied(measured: Mapping[str, Mapping[str, Any]]) -> str:
    arms = list(measured)
    if _leaders(measured) == arms:
        return f"On unchanged images {_named(arms)} tie with {_stated(measured[arms[0]])}."
    scores = [f"“{arm}” scores {_stated(metric)}" for arm, metric in measured.items()]
    return f"On unchanged images {', '.join(scores[:-1])} and {scores[-1]}."


def _unseen_style(report: Mapping[str, Any]) -> str:
    measured = _measured(report, "unseen_style")
    if not measured:
        return ""
    leaders, reference = _leaders(measured), reference_arm(report)
    first = measured[leaders[0]]
    text = f"On {images(report, first['n'])} {METRIC_MEANINGS['unseen_style']}, "
    if len(measured) == 1:
        return f"{text}{_named(leaders)} scores {_stated(first)}."
    if len(leaders) == len(measured):
        return f"{text}{_all_of(leaders)} tie with {_stated(first)}."
    text += f"{_named(leaders)} {'scores' if len(leaders) == 1 else 'tie for the'} highest with {_stated(first)}"
    text += _rivals(report, "unseen_style", leaders[0]) if len(leaders) == 1 else ""
    if reference in leaders or reference not in measured:
        return f"{text}."
    doubt = _not_told(report, "unseen_style", leaders[0], reference) if len(leaders) == 1 else ""
    return f"{text}; “{reference}” reaches {_stated(measured[reference])}{doubt}."


def _rivals(report: Mapping[str, Any], metric: str, leader: str) -> str:
    """The arms beside the reference whose difference from the leader may be chance."""
    measured, reference = _measured(report, metric), reference_arm(report)
    others = [arm for arm in measured if arm not in (leader, reference) and _not_told(report, metric, leader, arm)]
    if not others:
        return ""
    listed = [f"“{arm}” with {percent(measured[arm]['value'])}%" for arm in others]
    return f"; this sample cannot tell it from {' or '.join(listed)}"


def _not_told(report: Mapping[str, Any], metric: str, first: str, second: str) -> str:
    row = comparison(report, metric, first, second)
    if row is None or row["p_value_holm"] < SIGNIFICANCE:
        return ""
    return f", a difference that this sample cannot tell from chance (Holm {p_value(row['p_value_holm'])})"


def undecided(report: Mapping[str, Any]) -> str:
    """Which tested differences between arms the sample cannot tell from chance, and how many images could; empty for
    one arm."""
    return " ".join(filter(None, [_told_apart(report), _images_needed(report)]))


def _told_apart(report: Mapping[str, Any]) -> str:
    several = len(report["arms"]) > 1
    rows = (report.get("comparisons") or []) if several else []
    if not rows:
        unknown = "The arms were not compared sample by sample, so small differences between them mean nothing."
        return unknown if several else ""
    open_rows = [row for row in rows if row["p_value_holm"] >= SIGNIFICANCE]
    count, tested = len(rows), "tested differences between arms"
    test = "(McNemar, Holm-corrected)"
    if count == 1:
        verb = "cannot be told from" if open_rows else "is beyond"
        return f"The one tested difference between arms {verb} chance {test}."
    if not open_rows:
        return f"All {count} {tested} are beyond chance {test}."
    if len(open_rows) == count:
        return f"None of the {count} {tested} can be told from chance {test}."
    pairs = [
        f"{metric_title(row['metric'])}, “{row['arm_a']}” and “{row['arm_b']}” ({p_value(row['p_value_holm'])})"
        for row in open_rows[:_LISTED]
    ]
    if len(open_rows) > _LISTED:
        pairs.append(f"and {plural(len(open_rows) - _LISTED, 'more pair')}")
    decided = count - len(open_rows)
    return (
        f"{decided} of the {count} {tested} {'is' if decided == 1 else 'are'} beyond chance "
        f"{test}; not told apart: {'; '.join(pairs)}."
    )


def _images_needed(report: Mapping[str, Any]) -> str:
    """For the differences that are not told apart, the sample that would do it, if they are as large as they look."""
    rows = (report.get("comparisons") or []) if len(report["arms"]) > 1 else []
    needed = []
    for row in rows:
        if row["p_value_holm"] >= SIGNIFICANCE:
            level = SIGNIFICANCE / len(rows)  # Holm's first and strictest step
            count = samples_to_tell(row["only_a"], row["only_b"], row["n"], level=level)
            if count is not None:
                needed.append(
                    (count, f"{metric_title(row['metric'])}, “{row['arm_a']}” and “{row['arm_b']}” {count:,}")
                )
    if not needed:
        return ""
    listed = "; ".join(text for _, text in sorted(needed)[:_LISTED])
    more = f"; and {plural(len(needed) - _LISTED, 'pair')} with more" if len(needed) > _LISTED else ""
    return (
        f"If the differences are as large as they look, so many {measured_image(report)}s would tell them apart "
        f"(power 80%): {listed}{more}."
    )
