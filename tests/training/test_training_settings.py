"""The warm-up of eps, and every number out of range in one line."""

import math
from typing import Any

import pytest

from robustaug.errors import RobustAugError
from robustaug.training import TrainingSettings


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
        (
            {"eps_warmup": 1.25},
            "training.eps_warmup is 1.25; it is a share of the steps, 0 to 1",
        ),  # longer than the run
        ({"swa": 1.0}, "training.swa is 1.0; it is a share, 0 to below 1"),
        ({"ema": 1.0}, "training.ema is 1.0; it is a share, 0 to below 1"),
        ({"eps_warmup": math.nan}, "training.eps_warmup is nan"),
        ({"shift": -1}, "training.shift and training.weight_decay must be 0 or larger"),
        ({"weight_decay": math.nan}, "training.weight_decay must be 0 or larger"),
    ],
)
def test_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RobustAugError, match=message):
        TrainingSettings(**changes)
