"""Schedules in closed form, and every number out of range in one line."""

import math
from typing import Any

import pytest

from robustaug.errors import RobustAugError
from robustaug.training import TrainingSettings


def test_one_cycle() -> None:
    settings = TrainingSettings(steps=10, learning_rate=0.4, warmup=0.5)
    rates = [settings.learning_rate_at(step) for step in range(10)]
    assert rates[:5] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    assert rates[5:] == pytest.approx([0.4 * (1 + math.cos(math.pi * k / 5)) / 2 for k in range(1, 6)])
    assert rates[-1] == pytest.approx(0)


@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0])
def test_the_peak_is_never_passed_and_never_negative(warmup: float) -> None:
    settings = TrainingSettings(steps=37, learning_rate=1.0, warmup=warmup)
    rates = [settings.learning_rate_at(step) for step in range(37)]
    assert max(rates) <= 1
    assert min(rates) >= 0
    assert max(rates) > 0.98


def test_without_warmup_the_rate_only_falls() -> None:
    rates = [TrainingSettings(steps=5, learning_rate=2.0, warmup=0).learning_rate_at(step) for step in range(5)]
    assert rates == pytest.approx([1 + math.cos(math.pi * k / 5) for k in range(1, 6)])


def test_eps_warmup() -> None:
    settings = TrainingSettings(steps=10, eps_warmup=0.4)
    assert [settings.eps_share_at(step) for step in range(6)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert TrainingSettings(steps=10).eps_share_at(0) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "training.steps is 0; it must be at least 1"),
        ({"batch_size": -3}, "training.batch_size is -3"),
        ({"validate_every": 0}, "training.validate_every is 0"),
        ({"validation_samples": 0}, "training.validation_samples is 0"),
        ({"learning_rate": 0.0}, "training.learning_rate is 0.0; it must be larger than 0"),
        ({"learning_rate": math.nan}, "training.learning_rate is nan"),
        ({"learning_rate": math.inf}, "training.learning_rate is inf"),
        ({"warmup": 1.5}, "training.warmup is 1.5; it is a share of the steps, 0 to 1"),
        ({"eps_warmup": math.nan}, "training.eps_warmup is nan"),
        ({"shift": -1}, "training.shift and training.weight_decay must be 0 or larger"),
        ({"weight_decay": math.nan}, "training.weight_decay must be 0 or larger"),
    ],
)
def test_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RobustAugError, match=message):
        TrainingSettings(**changes)
