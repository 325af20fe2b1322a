"""A gate for continuous integration: rules on what a run lost against a baseline."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from robustaug.errors import RobustAugError
from robustaug.evaluation.report.compare import ComparedRun, compare_runs, unlike

# What a rule may say in place of a metric: the first of these that both runs have.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "robust_accuracy": ("autoattack", "pgd"),
    "clean_accuracy": ("clean",),
    "corruption_accuracy": ("corruptions",),
    "style_accuracy": ("unseen_style",),
}
_COMPARISONS = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_RULE = re.compile(
    r"(?P<metric>[\w.+-]+)\s*(?:\[(?P<arm>[^\]]+)\])?\s*(?P<comparison><=|>=|<|>)\s*"
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
)


@dataclass(frozen=True)
class Rule:
    """When a run is not good enough: ``METRIC[ARM] < NUMBER``, on new minus baseline, as a fraction.

    Attributes:
        text: as the user wrote it.
        metric: a metric or one of ``ALIASES``.
        arm: None is every arm that both runs have.
        comparison: ``<``, ``<=``, ``>`` or ``>=``.
        number: a fraction, from -1 to 1.
    """

    text: str
    metric: str
    arm: str | None
    comparison: str
    number: float

    def fires(self, difference: float) -> bool:
        """Whether such a difference is not good enough."""
        return bool(_COMPARISONS[self.comparison](difference, self.number))


@dataclass(frozen=True)
class Ruling:
    """What a rule says of one arm.

    Attributes:
        rule: the rule.
        metric: the metric that it was held to.
        arm: the arm in the new run.
        baseline: accuracy in the baseline.
        new: accuracy in the new run.
    """

    rule: Rule
    metric: str
    arm: str
    baseline: float
    new: float

    @property
    def fired(self) -> bool:
        """Whether the new run is not good enough."""
        return self.rule.fires(self.difference)

    @property
    def difference(self) -> float:
        """New minus baseline; what is smaller than a rounding error is 0."""
        return round(self.new - self.baseline, 9)

    def __str__(self) -> str:
        return (
            f"{'FIRED' if self.fired else 'ok   '} {self.rule.text!r} on arm {self.arm}: {self.metric} is "
            f"{self.new:.4f}, the baseline has {self.baseline:.4f}: {self.difference:+.4f}"
        )


def parse_rule(text: str) -> Rule:
    """Read ``METRIC < NUMBER`` or ``METRIC[ARM] < NUMBER``; the comparison may be ``<``, ``<=``, ``>`` or ``>=``.

    Raises:
        RobustAugError: something else, or a number that no difference of accuracies can reach.
    """
    match = _RULE.fullmatch(text.strip())
    if match is None:
        raise RobustAugError(
            f"rule {text!r} cannot be read; write METRIC < NUMBER or METRIC[ARM] < NUMBER, "
            'for example "robust_accuracy < -0.02"'
        )
    number = float(match["number"])
    if abs(number) > 1:
        raise RobustAugError(f"rule {text!r}: differences are fractions from -1 to 1; two points are 0.02, not 2")
    arm = match["arm"] and match["arm"].strip()
    return Rule(" ".join(text.split()), match["metric"], arm, match["comparison"], number)


def judge(rules: Sequence[Rule], baseline: ComparedRun, new: ComparedRun) -> list[Ruling]:
    """Hold a run to rules.

    Raises:
        RobustAugError: an arm or a metric that one of the runs lacks, or that does not mean the same in both: a rule
            that cannot be applied is no rule that was kept.
    """
    return [ruling for rule in rules for ruling in _rulings(rule, baseline, new)]


def _rulings(rule: Rule, baseline: ComparedRun, new: ComparedRun) -> list[Ruling]:
    pairs = dict.fromkeys(row.arms for row in compare_runs([baseline, new]))
    shared = {b: a for a, b in pairs if a is not None and b is not None}
    if rule.arm is not None and rule.arm not in shared:
        raise RobustAugError(f"rule {rule.text!r}: no arm {rule.arm!r} in both runs; {_those(shared)}")
    if not shared:
        raise RobustAugError(
            f"rule {rule.text!r}: the runs share no arm; the baseline has {', '.join(baseline.report['arms'])}"
        )
    rulings = []
    for arm, before in shared.items():
        if rule.arm not in (None, arm):
            continue
        candidates = ALIASES.get(rule.metric, (rule.metric,))
        found = [name for name in candidates if baseline.metric(before, name) and new.metric(arm, name)]
        if not found:
            both = [n for n in new.report["arms"][arm]["metrics"] if baseline.metric(before, n)]
            raise RobustAugError(
                f"rule {rule.text!r}: {' and '.join(candidates)} not measured for arm {arm} in both runs; "
                f"{_those([*both, *ALIASES])}"
            )
        metric = found[0]
        if reason := unlike(baseline, new, metric):
            raise RobustAugError(
                f"rule {rule.text!r}: {baseline.name} and {new.name} cannot be held together: {reason}"
            )
        values = (run.metric(name, metric) for run, name in ((baseline, before), (new, arm)))
        old, now = (float(value["value"]) for value in values if value is not None)
        rulings.append(Ruling(rule, metric, arm, old, now))
    return rulings


def _those(names: Iterable[str]) -> str:
    return f"there are {', '.join(names)}" if (names := list(names)) else "there is none"
