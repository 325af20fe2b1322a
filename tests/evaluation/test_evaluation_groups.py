"""Gaps between groups: published intervals, paired and independent parts, and no alarm where nothing happened."""

import dataclasses

import pytest
import torch
from evaluation_cases import Linear, image_set, labelled_by
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustaug.attacks import ThreatModel
from robustaug.data import ImageSet
from robustaug.evaluation import evaluate_arm
from robustaug.evaluation.groups import SMALL, describe_groups, gap, widening
from robustaug.evaluation.protocol import PROTOCOLS
from robustaug.evaluation.results import ArmEvaluation
from robustaug.evaluation.statistics import accuracy_interval, paired_difference


def hits(*counts: tuple[int, int]) -> tuple[Tensor, dict[str, Tensor]]:
    """Verdicts and groups g0, g1, ... of (right, of) images each."""
    correct = torch.cat([torch.arange(n) < right for right, n in counts])
    owner = torch.cat([torch.full((n,), number) for number, (_, n) in enumerate(counts)])
    return correct, {f"g{number}": owner == number for number in range(len(counts))}


def test_the_gap_of_two_groups_is_newcombes() -> None:
    found = gap(*hits((56, 70), (48, 80)))  # Newcombe 1998 (Statistics in Medicine 17, 873), table II (a), method 10
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_a_gap_among_many_groups_is_less_sure() -> None:
    two = gap(*hits((56, 70), (48, 80)))
    four = gap(*hits((56, 70), (48, 80), (49, 70), (49, 70)))
    assert four.value == two.value
    assert four.low < two.low
    assert four.high > two.high
    part = accuracy_interval(torch.arange(70) < 56, 1 - 0.05 / 6)  # the best of six pairs
    other = accuracy_interval(torch.arange(80) < 48, 1 - 0.05 / 6)
    assert four.low == pytest.approx(0.2 - ((part.value - part.low) ** 2 + (other.high - other.value) ** 2) ** 0.5)


def test_widening_between_the_same_groups_is_a_difference_of_paired_differences() -> None:
    before, groups = hits((90, 100), (80, 100))
    after = before.clone()
    after[150:180] = False  # 30 fewer in the worse group
    found = widening(before, after, groups)
    best = paired_difference(before[:100], after[:100])
    worst = paired_difference(before[100:], after[100:])
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - ((best.value - best.low) ** 2 + (worst.high - worst.value) ** 2) ** 0.5)
    assert found.low > 0


def test_a_gap_turned_round_is_no_wider_one() -> None:
    before, groups = hits((90, 100), (60, 100))
    after, _ = hits((60, 100), (90, 100))
    found = widening(before, after, groups)
    assert found.value == pytest.approx(0)
    assert found.low < 0 < found.high


def test_a_new_worst_group_counts() -> None:
    before, groups = hits((90, 100), (85, 100), (80, 100))
    after = before.clone()
    after[100:160] = False
    found = widening(before, after, groups)
    assert found.value == pytest.approx((0.9 - 0.25) - (0.9 - 0.8))
    assert found.low > 0


@given(st.integers(2, 5), st.integers(0, 2**31))
def test_a_widening_is_one_gap_minus_the_other_and_none_of_an_arm_against_itself(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    owner = torch.randint(count, (60 * count,), generator=generator)
    groups = {str(number): owner == number for number in range(count)}
    before, after = (torch.rand(len(owner), generator=generator) < 0.6 for _ in range(2))
    found = widening(before, after, groups)
    assert found.value == pytest.approx(gap(after, groups).value - gap(before, groups).value)
    assert found.low <= found.value <= found.high
    still = widening(before, before, groups)
    assert still.value == pytest.approx(0)
    assert still.low < 0 < still.high


def test_where_groups_and_arms_are_alike_there_is_hardly_ever_an_alarm() -> None:
    generator = torch.Generator().manual_seed(0)
    owner = torch.arange(250) % 5
    groups = {str(number): owner == number for number in range(5)}
    alarms, false_gaps, trials = 0, 0, 200
    for _ in range(trials):
        before, after = (torch.rand(250, generator=generator) < 0.7 for _ in range(2))
        alarms += widening(before, after, groups).low > 0
        false_gaps += gap(after, groups).low > 0
    assert alarms <= 0.05 * trials
    assert false_gaps <= 0.05 * trials


@pytest.fixture(scope="module")
def measured() -> tuple[ArmEvaluation, ImageSet]:
    model = Linear()
    test = labelled_by(model, image_set(80), wrong=10)
    protocol = dataclasses.replace(
        PROTOCOLS["quick"], samples=40, pgd_steps=1, pgd_restarts=1, noise_draws=1, curve_samples=2, curve_steps=1,
        curve_multiples=(0, 1), unseen_style_samples=1, corruption_samples=0, minimal_samples=0, transfer_samples=0,
    )  # fmt: skip
    return evaluate_arm(model, test, threat=ThreatModel("linf", 0.02), protocol=protocol, seed=0), test


def test_groups_of_an_evaluation(measured: tuple[ArmEvaluation, ImageSet]) -> None:
    evaluation, test = measured
    site = ["north" if row < 35 else "south" if row < 75 else "" for row in range(80)]
    classes, sites = describe_groups({"clean": evaluation, "other": evaluation}, test, {"site": site}, "clean")
    assert (classes["attribute"], sites["attribute"], sites["against"]) == ("class", "site", "clean")
    of_class = classes["arms"]["clean"]["clean"]["values"]
    assert of_class == {name: found.to_dict() for name, found in evaluation.per_class["clean"].items()}
    clean = sites["arms"]["clean"]["clean"]
    assert clean["values"]["north"] == accuracy_interval(torch.arange(35) >= 10).to_dict()  # the first ten are wrong
    assert clean["values"]["south"] == accuracy_interval(torch.ones(40).bool()).to_dict()
    assert set(clean["values"]) == {"north", "south"}
    assert (clean["gap"]["best"], clean["gap"]["worst"]) == ("south", "north")
    assert clean["gap"]["value"] == pytest.approx(10 / 35)
    assert "widening" not in clean
    assert sites["arms"]["other"]["clean"]["widening"]["value"] == 0


def test_attacked_images_are_those_of_the_attack(measured: tuple[ArmEvaluation, ImageSet]) -> None:
    evaluation, test = measured
    site = ["north" if row < 40 else "south" for row in range(80)]
    _, sites = describe_groups({"a": evaluation}, test, {"site": site}, None)
    pgd = sites["arms"]["a"]["pgd"]
    north = evaluation.attacked < 40
    assert pgd["values"]["north"] == accuracy_interval(evaluation.verdicts["pgd"][north]).to_dict()
    assert {name: found["n"] for name, found in pgd["values"].items()} == {
        "north": int(north.sum()), "south": int((~north).sum())
    }  # fmt: skip
    small = [name for name, found in pgd["values"].items() if found["n"] < SMALL]
    assert pgd["too_small"] == small
    assert "gap" not in pgd
