"""Minimising one objective an image, many images at a time, inside [0, 1]: Adam, and L-BFGS with a step an image.

Images share nothing. Every step uses single multiplications and additions, no fused ones: those may round differently
at a vector's end, and then an image's bytes would depend on its place in the batch.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from robustaug.style.settings import OptimizerName

LOOK_EVERY = 10  # steps between two looks at which images have settled


class Objective(Protocol):
    """What is minimised."""

    def __call__(self, images: Tensor) -> Tensor:
        """One loss an image, (N,), float32, differentiable."""
        ...

    def __getitem__(self, rows: Tensor) -> "Objective":
        """The objective of some of the images."""
        ...


def minimise(
    objective: Objective,
    start: Tensor,
    steps: int,
    learning_rate: float,
    optimizer: OptimizerName = "adam",
    tolerance: float = 0.0,
) -> Tensor:
    """Images with a lower objective than those given.

    Args:
        objective: one loss an image.
        start: (N, 3, H, W) in [0, 1].
        steps: evaluations of the objective, at most.
        learning_rate: in pixel values: Adam's first step size; the root mean square of L-BFGS's longest step.
        optimizer: ``"adam"`` or ``"lbfgs"``.
        tolerance: an image whose loss fell by no more than this share over ten steps is done. Its own losses alone
            decide, and those still at work go on without it.

    Returns:
        Images like ``start``, in [0, 1].
    """
    result, rows = start.clone(), torch.arange(len(start), device=start.device)
    state: Adam | LBFGS = (
        Adam.at(start, steps, learning_rate) if optimizer == "adam" else LBFGS.at(start, learning_rate)
    )
    before: Tensor | None = None
    for step in range(steps):
        state.update(*_evaluate(objective, state.point))
        if tolerance == 0 or step % LOOK_EVERY:
            continue
        if before is not None:
            at_work = before - state.losses > tolerance * before
            if not at_work.any():
                break
            if not at_work.all():
                result[rows] = state.result
                kept = _refilled(at_work.nonzero()[:, 0], len(rows))
                rows, objective, state = rows[kept], objective[kept], state[kept]
        before = state.losses
    result[rows] = state.result
    return result


def _evaluate(objective: Objective, point: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        images = point.detach().requires_grad_()
        losses = objective(images)
        (gradient,) = torch.autograd.grad(losses.sum(), images)
    return losses.detach(), gradient


def _refilled(rows: Tensor, n: int) -> Tensor:
    """At least a pair on a CPU, and elsewhere as many as before, so that kernels compute an image as they did."""
    count = max(2, len(rows)) if rows.device.type == "cpu" else n
    return rows[torch.arange(count, device=rows.device) % len(rows)]


@dataclass
class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1), clamped to [0, 1], learning rate along a half cosine to zero.

    Attributes:
        point: where to evaluate next.
        losses: at the point before, (N,).
    """

    point: Tensor
    losses: Tensor
    mean: Tensor
    square: Tensor
    steps: int
    learning_rate: float
    step: int = 0

    @classmethod
    def at(cls, start: Tensor, steps: int, learning_rate: float) -> "Adam":
        """Before the first step."""
        mean, square = torch.zeros_like(start), torch.zeros_like(start)
        return cls(start.clone(), start.new_zeros(len(start)), mean, square, steps, learning_rate)

    @property
    def result(self) -> Tensor:
        """The last point, taken to be the best."""
        return self.point

    def update(self, losses: Tensor, gradient: Tensor) -> None:
        """Step from the gradient at the point."""
        self.losses = losses
        beta1, beta2, tiny = 0.9, 0.999, 1e-8
        self.step += 1
        self.mean = self.mean.mul_(beta1).add_(gradient * (1 - beta1))
        self.square = self.square.mul_(beta2).add_(gradient.square().mul_(1 - beta2))
        rate = self.learning_rate * (1 + math.cos(math.pi * (self.step - 1) / self.steps)) / 2
        mean, square = self.mean / (1 - beta1**self.step), self.square / (1 - beta2**self.step)
        self.point = self.point.sub(mean.div_(square.sqrt_().add_(tiny)).mul_(rate)).clamp_(0, 1)

    def __getitem__(self, rows: Tensor) -> "Adam":
        return replace(self, **{name: getattr(self, name)[rows] for name in ("point", "losses", "mean", "square")})


@dataclass
class LBFGS:
    """Limited-memory BFGS (Nocedal and Wright 2006, algorithm 7.4), each image with its own curvature and step size.

    Backtracking to a sufficient decrease (equation 3.6a), in step for all images: each evaluation is one image's next
    point and another's shorter step. The loss of the result is never above the start's. Bounds by projection: a pixel
    at 0 or 1 whose gradient points outwards takes no part in a direction.

    Attributes:
        point: where to evaluate next.
        result: the best point known.
        losses: at the result, (N,).
        gradient: at the result.
        size: of the step to the point, as a share of the direction, (N, 1, 1, 1).
        scale: of the first inverse Hessian (equation 7.20), (N, 1, 1, 1).
        learning_rate: root mean square of the first step, and of the longest.
        history: pairs that are kept.
        pairs: s, y and 1 / y's of equation 7.18, the latest last; 0 in place of 1 / y's where there is no pair.
    """

    point: Tensor
    result: Tensor
    losses: Tensor
    gradient: Tensor
    size: Tensor
    scale: Tensor
    learning_rate: float
    history: int = 8
    pairs: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    @classmethod
    def at(cls, start: Tensor, learning_rate: float) -> "LBFGS":
        """Before the first step."""
        ones = torch.ones(len(start), 1, 1, 1, device=start.device)
        infinite = torch.full((len(start),), torch.inf, device=start.device)
        return cls(start.clone(), start.clone(), infinite, torch.zeros_like(start), ones, ones, learning_rate)

    def update(self, losses: Tensor, gradient: Tensor) -> None:
        """Step from losses and gradient at the point, or back from it where the loss did not fall."""
        moved = self.point - self.result
        enough = _dot(self.gradient, moved).flatten() * 1e-4
        lower = (losses <= self.losses + enough).view(-1, 1, 1, 1)
        if self.losses.isinf().all():  # the start
            self.scale = self.learning_rate / _root_mean_square(gradient)
        else:
            change = (gradient - self.gradient) * (moved != 0)
            product, square = _dot(moved, change), _dot(change, change)
            curved = lower & (product > 1e-10 * square)
            self.pairs = [*self.pairs, (moved, change, torch.where(curved, 1 / product, 0))][-self.history :]
            # Deviation: where the objective curves downwards, there is no pair, and the next step may be twice as long.
            self.scale = torch.where(curved, product / square, torch.where(lower, self.scale * 2, self.scale))
        self.size = torch.where(lower, torch.ones_like(self.size), self.size / 2)
        self.result = torch.where(lower, self.point, self.result)
        self.losses = torch.where(lower.flatten(), losses, self.losses)
        self.gradient = torch.where(lower, gradient, self.gradient)
        direction = self._direction()
        size = self.size * (self.learning_rate / _root_mean_square(direction)).clamp_max(1)
        self.point = (self.result - direction * size).clamp_(0, 1)

    def _direction(self) -> Tensor:
        """The two-loop recursion on the pixels that may move."""
        outward = ((self.result <= 0) & (self.gradient > 0)) | ((self.result >= 1) & (self.gradient < 0))
        direction, taken = self.gradient.masked_fill(outward, 0), []
        for moved, change, inverse in reversed(self.pairs):
            share = inverse * _dot(moved, direction)
            direction = direction - change * share
            taken.append(share)
        direction = direction * self.scale
        for (moved, change, inverse), share in zip(self.pairs, reversed(taken), strict=True):
            direction = direction + moved * (share - inverse * _dot(change, direction))
        return direction.masked_fill(outward, 0)

    def __getitem__(self, rows: Tensor) -> "LBFGS":
        names = ("point", "result", "losses", "gradient", "size", "scale")
        pairs = [(moved[rows], change[rows], inverse[rows]) for moved, change, inverse in self.pairs]
        return replace(self, pairs=pairs, **{name: getattr(self, name)[rows] for name in names})


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each image, (N, 1, 1, 1)."""
    return (a * b).flatten(1).sum(1).view(-1, 1, 1, 1)


def _root_mean_square(a: Tensor) -> Tensor:
    """Of each image, (N, 1, 1, 1), never 0."""
    return (_dot(a, a) / a[0].numel()).sqrt().clamp_min(1e-20)
