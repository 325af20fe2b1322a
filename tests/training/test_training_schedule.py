"""Schedules in closed form."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustaug.errors import RobustAugError
from robustaug.training import TrainingSettings


def rates(**changes: Any) -> list[float]:
    settings = TrainingSettings(**changes)
    return [settings.learning_rate_at(step) for step in range(settings.steps)]


def test_one_cycle() -> None:
    found = rates(steps=10, learning_rate=0.4, warmup=0.5)
    assert found[:5] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    assert found[5:] == pytest.approx([0.4 * (1 + math.cos(math.pi * k / 5)) / 2 for k in range(1, 6)])
    assert found[-1] == pytest.approx(0)


def test_one_cycle_without_warmup_only_falls() -> None:
    assert rates(steps=5, learning_rate=2.0, warmup=0) == pytest.approx(
        [1 + math.cos(math.pi * k / 5) for k in range(1, 6)]
    )


def test_cosine_is_torchs() -> None:
    """After each step, torch's rate is that of the step's end here."""
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    expected = []
    for _ in range(20):
        optimizer.step()
        reference.step()
        expected.append(optimizer.param_groups[0]["lr"])
    assert rates(steps=20, learning_rate=0.3, schedule="cosine", warmup=0) == pytest.approx(expected, abs=1e-12)


def test_a_cosine_is_warmed_up() -> None:
    plain = rates(steps=20, learning_rate=0.3, schedule="cosine", warmup=0)
    warm = rates(steps=20, learning_rate=0.3, schedule="cosine", warmup=0.2)
    assert warm[:4] == pytest.approx([plain[k] * (k + 1) / 4 for k in range(4)])
    assert warm[4:] == plain[4:]


def test_steps_of_the_papers() -> None:
    """200 epochs of one step: a tenth from epoch 100 on (counted from 0), a hundredth from 150 on."""
    assert rates(steps=200, learning_rate=0.1, schedule="step", warmup=0) == pytest.approx(
        [0.1] * 100 + [0.01] * 50 + [0.001] * 50
    )


def test_steps_where_they_are_wanted() -> None:
    found = rates(steps=10, learning_rate=1.0, schedule="step", drops=(0.3, 0.7, 0.9), warmup=0.2)
    assert found == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001])
    assert rates(steps=4, learning_rate=1.0, schedule="step", drops=(), warmup=0) == [1, 1, 1, 1]


@given(
    schedule=st.sampled_from(["one_cycle", "cosine", "step"]),
    warmup=st.floats(0, 1),
    steps=st.integers(1, 60),
    peak=st.floats(1e-6, 10),
)
def test_the_peak_is_never_passed_and_the_rate_never_negative(
    schedule: str, warmup: float, steps: int, peak: float
) -> None:
    found = rates(steps=steps, learning_rate=peak, schedule=schedule, warmup=warmup)
    assert all(0 <= rate <= peak * (1 + 1e-12) for rate in found)
    after = found[math.ceil(warmup * steps) :]
    assert all(a >= b for a, b in pairwise(after))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "cyclic"}, "training.schedule is 'cyclic'; use one_cycle or cosine or step"),
        ({"schedule": "step", "drops": (0.75, 0.5)}, "they are shares of the steps, ascending, between 0 and 1"),
        ({"schedule": "step", "drops": (0.5, 0.5)}, "they are shares of the steps"),
        ({"schedule": "step", "drops": (100.0, 150.0)}, r"training.drops is \(100.0, 150.0\); they are shares"),
        ({"schedule": "step", "drops": (math.nan,)}, "they are shares of the steps"),
        ({"drops": (0.9,)}, "training.drops belongs to the schedule step, not to one_cycle; remove it, or set"),
    ],
)
def test_mistakes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RobustAugError, match=message):
        TrainingSettings(**changes)
