"""Running averages of the weights, evaluated beside them: EMA and SWA, which differ in one number a step."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass(frozen=True)
class Average(ABC):
    """average <- average + share (weights - average), after every step of the optimiser.

    Batch-norm statistics are averaged as the weights are; counters are not.

    Attributes:
        name: What scores, and the tensors in the state, are called after.
        recounts: The last training batches over which batch-norm statistics are taken anew for the averaged weights; 0
            keeps their average.
    """

    name: ClassVar[str]
    recounts: ClassVar[int] = 0

    @abstractmethod
    def share_at(self, step: int) -> float:
        """The share after a step, from 0; 1 begins the average, before that it is 0."""

    @torch.no_grad()
    def follow(self, carried: MutableMapping[str, Tensor], model: nn.Module, step: int) -> None:
        """Move the average towards the model's weights, after optimiser step ``step``.

        Args:
            carried: Where the average lives, under names that begin with its own.
            model: Already moved by the optimiser.
            step: From 0.
        """
        weights, share = _averaged(model), self.share_at(step)
        if share == 1:
            carried.update({f"{self.name}.{name}": value.clone() for name, value in weights.items()})
        elif share > 0:
            average = [carried[f"{self.name}.{name}"] for name in weights]
            torch._foreach_lerp_(average, list(weights.values()), share)

    @contextmanager
    def in_place(self, carried: MutableMapping[str, Tensor], model: nn.Module) -> Iterator[None]:
        """Within the block, the model holds the average; afterwards its own weights, exactly."""
        weights = _averaged(model)
        before = {name: value.clone() for name, value in weights.items()}
        try:
            for name, value in weights.items():
                value.copy_(carried[f"{self.name}.{name}"])
            yield
        finally:
            for name, value in weights.items():
                value.copy_(before[name])


@dataclass(frozen=True)
class EMA(Average):
    """An exponential moving average: share = 1 - min(decay, (1 + step) / (10 + step)).

    Early on it forgets its beginnings faster (Tarvainen and Valpola 2017 ramp up too; this ramp is TensorFlow's).

    Attributes:
        decay: At least 0 and below 1.
    """

    name: ClassVar[str] = "ema"
    decay: float

    def share_at(self, step: int) -> float:
        """See the class."""
        return 1 if step == 0 else 1 - min(self.decay, (1 + step) / (10 + step))


@dataclass(frozen=True)
class SWA(Average):
    """Stochastic weight averaging (Izmailov et al. 2018, algorithm 1): the mean of all weights since ``start``.

    The n-th has share 1 / n. As there, the statistics of batch norms are taken anew for the average: it lies far from
    the weights whose statistics are known.

    Deviations: every step is averaged, not one an epoch; the statistics are of ten batches, as many as a momentum of
    0.1 remembers, where the paper goes over the whole training set; and the learning rate is the schedule's, where the
    paper's is constant or cyclic (``step`` is constant between its drops).

    Attributes:
        start: The first step that counts, from 0.
    """

    name: ClassVar[str] = "swa"
    recounts: ClassVar[int] = 10
    start: int

    def share_at(self, step: int) -> float:
        """See the class."""
        return 0 if step < self.start else 1 / (step - self.start + 1)


@contextmanager
def counting_anew(norms: Iterable[_BatchNorm]) -> Iterator[None]:
    """Within the block, statistics become the mean over the batches seen in it; they stay, the momentum comes back."""
    momenta = [(norm, norm.momentum) for norm in norms]
    try:
        for norm, _ in momenta:
            norm.momentum = None  # torch's word for a plain mean over num_batches_tracked batches
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.zero_()
        yield
    finally:
        for norm, momentum in momenta:
            norm.momentum = momentum


def _averaged(model: nn.Module) -> dict[str, Tensor]:
    """Weights and statistics, without a graph; counters are not averaged."""
    return {name: value.detach() for name, value in model.state_dict().items() if value.is_floating_point()}
