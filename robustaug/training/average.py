"""An exponential moving average of the weights, evaluated beside them."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_PREFIX = "average."


@torch.no_grad()
def follow(carried: MutableMapping[str, Tensor], model: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the model's weights and batch-norm statistics, after optimiser step ``step``.

    average <- d average + (1 - d) weights, with d = min(decay, (1 + step) / (10 + step)): early on the average forgets
    its beginnings faster (Tarvainen and Valpola 2017 ramp up too; this ramp is TensorFlow's).

    Args:
        carried: Where the average lives, under names that begin with ``average.``.
        model: Already moved by the optimiser.
        decay: d, at least 0 and below 1.
        step: From 0.
    """
    weights = _averaged(model)
    if step == 0:
        carried.update({_PREFIX + name: value.clone() for name, value in weights.items()})
    share = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_([carried[_PREFIX + name] for name in weights], list(weights.values()), share)


@contextmanager
def averaged(carried: MutableMapping[str, Tensor], model: nn.Module) -> Iterator[None]:
    """Within the block, the model holds the average; afterwards its own weights, exactly."""
    weights = _averaged(model)
    before = {name: value.clone() for name, value in weights.items()}
    try:
        for name, value in weights.items():
            value.copy_(carried[_PREFIX + name])
        yield
    finally:
        for name, value in weights.items():
            value.copy_(before[name])


def _averaged(model: nn.Module) -> dict[str, Tensor]:
    """Weights and statistics, without a graph; counters are not averaged."""
    return {name: value.detach() for name, value in model.state_dict().items() if value.is_floating_point()}
