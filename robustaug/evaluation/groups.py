"""Accuracy by group, the gap between the best and the worst group, and whether augmentation widened it.

Groups are other images: their accuracies are independent. Two arms are measured on the same images: within a group
their verdicts are paired. A gap's interval comes from the first, a widening's from both (``statistics.sum_of``).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from robustaug.data.imageset import ImageSet
from robustaug.evaluation.results import ArmEvaluation
from robustaug.evaluation.statistics import Estimate, accuracy_interval, paired_difference, sum_of

SMALL = 30  # images: Wilson's interval of half of fewer is wider than 34 points, which tells nothing of a group

Groups = Mapping[str, Tensor]  # name to the group's images, bool (N,)


def describe_groups(
    evaluations: Mapping[str, ArmEvaluation],
    test: ImageSet,
    attributes: Mapping[str, Sequence[str]],
    against: str | None,
) -> list[dict[str, Any]]:
    """Of the class and of each attribute: every arm's accuracy by group, its gap, and by how much it is a wider one.

    Args:
        evaluations: of the arms, all on this test part.
        test: the images.
        attributes: attribute to its value for each of them; an empty one is not known and makes no group.
        against: the arm without augmentation; None if there is none.

    Returns:
        Rows of ``{"attribute", "against", "arms": {arm: {metric: {"values", "too_small", "gap", "widening"}}}}``;
        ``values`` are accuracies, groups in ``too_small`` have fewer than ``SMALL`` images and do not count in the
        gap, and without two others there is none. ``widening`` is this arm's gap minus that of the arm ``against``.
    """
    reference = evaluations[against] if against else None
    columns = {"class": (test.class_names, test.labels)}
    columns |= {attribute: _numbered(values) for attribute, values in attributes.items()}
    rows = []
    for attribute, (names, numbers) in columns.items():
        arms = {
            arm: {
                metric: _of_metric(evaluation, None if arm == against else reference, metric, names, numbers)
                for metric in evaluation.per_class
            }
            for arm, evaluation in evaluations.items()
        }
        rows.append({"attribute": attribute, "against": against, "arms": arms})
    return rows


def class_differences(
    before: ArmEvaluation, after: ArmEvaluation, test: ImageSet
) -> dict[str, dict[str, dict[str, float]]]:
    """What each class gained from one arm to another: class to metric to ``{"value", "low", "high", "n"}``.

    The arms' verdicts on one image are paired (``statistics.paired_difference``); metrics that were not measured on the
    same images are left out.
    """
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in test.class_names}
    for metric in after.per_class:
        if before.samples.get(metric) != after.samples[metric]:
            continue
        for name, rows in _groups(after, metric, test.class_names, test.labels).items():
            change = paired_difference(before.verdicts[metric][rows], after.verdicts[metric][rows])
            found[name][metric] = change._asdict()
    return found


def _numbered(values: Sequence[str]) -> tuple[tuple[str, ...], Tensor]:
    """The different values, sorted, and the place of each among them, int64 (N,); an empty one is -1."""
    names = tuple(sorted(set(values) - {""}))
    place = {name: number for number, name in enumerate(names)}
    return names, torch.tensor([place.get(value, -1) for value in values])


def _groups(arm: ArmEvaluation, metric: str, names: Sequence[str], numbers: Tensor) -> dict[str, Tensor]:
    """Which of the images behind a metric are of which group; without groups that have none."""
    if metric != "clean":
        numbers = numbers[arm.attacked[: len(arm.verdicts[metric])]]
    groups = {name: numbers == number for number, name in enumerate(names)}
    return {name: rows for name, rows in groups.items() if rows.any()}


def _of_metric(
    arm: ArmEvaluation, reference: ArmEvaluation | None, metric: str, names: Sequence[str], numbers: Tensor
) -> dict[str, Any]:
    correct, groups = arm.verdicts[metric], _groups(arm, metric, names, numbers)
    found: dict[str, Any] = {
        "values": {name: accuracy_interval(correct[rows]).to_dict() for name, rows in groups.items()},
        "too_small": [name for name, rows in groups.items() if int(rows.sum()) < SMALL],
    }
    large = {name: rows for name, rows in groups.items() if name not in found["too_small"]}
    if len(large) < 2:
        return found
    best, worst = _extremes(correct, large)
    found["gap"] = {"best": best, "worst": worst, **gap(correct, large)._asdict()}
    if reference is not None and reference.samples.get(metric) == arm.samples[metric]:
        found["widening"] = widening(reference.verdicts[metric], correct, large)._asdict()
    return found


def gap(correct: Tensor, groups: Groups) -> Estimate:
    """Accuracy of the best group minus that of the worst.

    The two are found by looking at all pairs, so the interval is one of 95% for all pairs at once (Bonferroni).

    Args:
        correct: bool (N,), a classifier's verdicts.
        groups: at least two, without common images.
    """
    level = _level(groups)
    return sum_of(_signed(_accuracy(correct[groups[name]], level), sign) for name, sign in _signs(correct, groups))


def widening(before: Tensor, after: Tensor, groups: Groups) -> Estimate:
    """The gap of one classifier minus that of another on the same images.

    Each gap is between that classifier's own best and worst group. A group in both gaps counts by its paired difference
    (or sum), one in a single gap by its accuracy; the groups are independent. 95% for all pairs of groups at once.

    Args:
        before: bool (N,), verdicts of the classifier without augmentation.
        after: bool (N,), verdicts of the other one.
        groups: at least two, without common images.
    """
    level = _level(groups)
    subtracted, added = dict(_signs(before, groups)), dict(_signs(after, groups))
    parts = []
    for name, rows in groups.items():
        less, more = subtracted.get(name, 0), added.get(name, 0)
        if less and more:
            parts.append(_signed(_both(before[rows], after[rows], less == more, level), more))
        elif more:
            parts.append(_signed(_accuracy(after[rows], level), more))
        elif less:
            parts.append(_signed(_accuracy(before[rows], level), -less))
    return sum_of(parts)


def _both(before: Tensor, after: Tensor, is_difference: bool, level: float) -> Estimate:
    """Accuracy after minus accuracy before, or plus: a sum is one more than the difference from opposite verdicts."""
    shift = 0 if is_difference else 1
    change = paired_difference(before if is_difference else ~before, after, level)
    return Estimate(change.value + shift, change.low + shift, change.high + shift)


def _signs(correct: Tensor, groups: Groups) -> tuple[tuple[str, int], tuple[str, int]]:
    best, worst = _extremes(correct, groups)
    return (best, 1), (worst, -1)


def _extremes(correct: Tensor, groups: Groups) -> tuple[str, str]:
    """The best group, the first of several, and the worst, the last: two even where all are alike."""
    accuracy = {name: float(correct[rows].double().mean()) for name, rows in groups.items()}
    return max(accuracy, key=accuracy.__getitem__), min(reversed(accuracy), key=accuracy.__getitem__)


def _level(groups: Groups) -> float:
    return 1 - 0.05 / math.comb(len(groups), 2)


def _accuracy(correct: Tensor, level: float) -> Estimate:
    found = accuracy_interval(correct, level)
    return Estimate(found.value, found.low, found.high)


def _signed(part: Estimate, sign: int) -> Estimate:
    return part if sign > 0 else -part
