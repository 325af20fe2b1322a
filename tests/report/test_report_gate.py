"""Rules on what a run lost: read or refused, and fired exactly where the numbers say so."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustaug.errors import RobustAugError
from robustaug.evaluation.report.compare import ComparedRun
from robustaug.evaluation.report.gate import ALIASES, judge, parse_rule


def run(arms: dict[str, dict[str, float]], norm: str = "linf") -> ComparedRun:
    entries = {
        arm: {"metrics": {name: {"value": value, "low": 0.0, "high": 1.0, "n": 100} for name, value in metrics.items()}}
        for arm, metrics in arms.items()
    }
    data = {"name": "photos", "classes": ["a", "b"], "image_size": [8, 8]}
    return ComparedRun("run", {"arms": entries, "data": data, "threat": {"norm": norm, "eps": 0.1}}, {})


@pytest.mark.parametrize(
    ("text", "metric", "arm", "comparison", "number"),
    [
        ("robust_accuracy < -0.02", "robust_accuracy", None, "<", -0.02),
        ("pgd<=0", "pgd", None, "<=", 0.0),
        ("  clean   [ adversarial+style ]  >=  .5 ", "clean", "adversarial+style", ">=", 0.5),
        ("pgd-200[arm one]>1e-3", "pgd-200", "arm one", ">", 0.001),
        ("autoattack_l2 < +1", "autoattack_l2", None, "<", 1.0),
    ],
)
def test_rules_are_read(text: str, metric: str, arm: str | None, comparison: str, number: float) -> None:
    rule = parse_rule(text)
    assert (rule.metric, rule.arm, rule.comparison, rule.number) == (metric, arm, comparison, number)


NO_RULES = [
    "", "pgd", "pgd <", "< 0.1", "pgd = 0", "pgd == 0", "pgd < -2%", "pgd < x", "pgd < 0 or 1", "pgd[] < 0", "a b < 0",
    "pgd < nan", "pgd < inf", "-0.02 > pgd", "len('a') < 0", "pgd < 0, clean < 0", "pgd[a][b] < 0", "pgd[a < 0",
    "pgd <> 0", "pgd < 1e", "pgd < --1",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_RULES)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(RobustAugError, match="cannot be read; write METRIC < NUMBER or"):
        parse_rule(text)


def test_points_are_not_fractions() -> None:
    with pytest.raises(RobustAugError, match=r"two points are 0\.02, not 2"):
        parse_rule("pgd < -2")


@given(st.text(alphabet="pgd_[]<>=-+.0123e% \n", max_size=20))
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    with suppress(RobustAugError):  # nothing else
        rule = parse_rule(text)
        assert -1 <= rule.number <= 1
        assert rule.metric


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("pgd < -0.02", True),
        ("pgd < -0.03", False),  # exactly three points less
        ("pgd <= -0.03", True),
        ("pgd < -0.031", False),
        ("pgd > -0.03", False),
        ("pgd >= -0.03", True),
        ("clean < 0", False),
        ("clean > 0.009", True),
    ],
)
def test_a_rule_fires_on_new_minus_baseline(text: str, fires: bool) -> None:
    baseline, new = run({"a": {"pgd": 0.50, "clean": 0.90}}), run({"a": {"pgd": 0.47, "clean": 0.91}})
    (ruling,) = judge([parse_rule(text)], baseline, new)
    assert ruling.fired == fires


def test_what_is_said_of_a_rule_has_both_numbers() -> None:
    (ruling,) = judge([parse_rule("pgd < -0.02")], run({"a": {"pgd": 0.5}}), run({"a": {"pgd": 0.47}}))
    text = "FIRED 'pgd < -0.02' on arm a: pgd is 0.4700, the baseline has 0.5000: -0.0300"
    assert str(ruling) == text


@pytest.mark.parametrize(
    ("old", "new", "metric"),
    [
        ({"autoattack": 0.4, "pgd": 0.5}, {"autoattack": 0.3, "pgd": 0.6}, "autoattack"),
        ({"pgd": 0.5}, {"autoattack": 0.3, "pgd": 0.6}, "pgd"),  # never one attack held to another
        ({"autoattack": 0.4, "pgd": 0.5}, {"pgd": 0.6}, "pgd"),
    ],
)
def test_robust_accuracy_is_under_the_strongest_attack_of_both(
    old: dict[str, float], new: dict[str, float], metric: str
) -> None:
    (ruling,) = judge([parse_rule("robust_accuracy < -1")], run({"a": old}), run({"a": new}))
    assert (ruling.metric, ruling.baseline, ruling.new) == (metric, old[metric], new[metric])


def test_every_alias_is_the_name_of_metrics() -> None:
    every = {"autoattack": 0.1, "pgd": 0.2, "clean": 0.3, "corruptions": 0.4, "unseen_style": 0.5}
    for alias, names in ALIASES.items():
        (ruling,) = judge([parse_rule(f"{alias} < 0")], run({"a": every}), run({"a": every}))
        assert ruling.metric == names[0]
        assert not ruling.fired


def test_a_rule_without_an_arm_is_for_every_arm() -> None:
    baseline = run({"a": {"pgd": 0.5}, "b": {"pgd": 0.5}, "gone": {"pgd": 0.5}})
    new = run({"a": {"pgd": 0.5}, "b": {"pgd": 0.4}})
    rulings = judge([parse_rule("pgd < -0.02"), parse_rule("pgd[b] < -0.2")], baseline, new)
    assert [(ruling.arm, ruling.fired) for ruling in rulings] == [("a", False), ("b", True), ("b", False)]


@pytest.mark.parametrize(
    ("text", "old", "new", "line"),
    [
        (
            "fgsm < 0",
            {"a": {"pgd": 0.5}},
            {"a": {"pgd": 0.5}},
            "fgsm not measured for arm a .*there are pgd, robust_acc",
        ),
        ("pgd < 0", {"a": {"pgd": 0.5}}, {"a": {"clean": 0.5}}, "pgd not measured for arm a in both runs"),
        ("robust_accuracy < 0", {"a": {"clean": 1}}, {"a": {"clean": 1}}, "autoattack and pgd not measured"),
        ("pgd[c] < 0", {"a": {"pgd": 0.5}}, {"a": {"pgd": 0.5}}, "no arm 'c' in both runs; there are a"),
        ("pgd < 0", {"a": {}, "b": {}}, {"c": {}, "d": {}}, "the runs share no arm; the baseline has a, b"),
    ],
)
def test_a_rule_that_cannot_be_applied_is_an_error(text: str, old: Any, new: Any, line: str) -> None:
    with pytest.raises(RobustAugError, match=line):
        judge([parse_rule(text)], run(old), run(new))


def test_another_threat_model_is_no_baseline() -> None:
    old, new = run({"a": {"pgd": 0.5, "clean": 0.5}}), run({"a": {"pgd": 0.5, "clean": 0.5}}, norm="l2")
    assert not judge([parse_rule("clean < 0")], old, new)[0].fired
    with pytest.raises(RobustAugError, match="cannot be held together: they are at different threat models"):
        judge([parse_rule("pgd < 0")], old, new)
