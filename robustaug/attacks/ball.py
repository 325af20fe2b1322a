"""The allowed images around each original: the ball of a norm, cut with the bounds.

Images are float32 (N, C, H, W); radii have shape (N, 1, 1, 1).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from robustaug import randomness
from robustaug.attacks.projections import onto_l1_ball_in_box
from robustaug.attacks.threat import Norm, ThreatModel


@dataclass(frozen=True)
class Ball(ABC):
    """All images within ``eps`` of ``center`` and within ``bounds``, one ball a row."""

    center: Tensor
    eps: Tensor
    bounds: tuple[float, float]

    def __post_init__(self) -> None:  # noqa: B027 - most have nothing
        """Precompute what every projection needs."""

    @staticmethod
    def around(images: Tensor, threat: ThreatModel) -> "Ball":
        """The ball of each image, shape (N, C, H, W), under a threat model."""
        return BALLS[threat.norm](images, threat.eps_for(images), threat.bounds)

    def __getitem__(self, rows: Tensor | slice) -> "Ball":
        return type(self)(self.center[rows], self.eps[rows], self.bounds)

    @staticmethod
    @abstractmethod
    def length(delta: Tensor) -> Tensor:
        """The norm of each perturbation, shape (N,)."""

    @abstractmethod
    def direction(self, images: Tensor, gradient: Tensor) -> Tensor:
        """The step of unit norm from ``images`` that an iterative attack takes up this gradient (0 for 0)."""

    @abstractmethod
    def project(self, images: Tensor) -> Tensor:
        """Bring images into the ball and the bounds. May overwrite its argument."""

    @abstractmethod
    def sample(self, seeds: Tensor) -> Tensor:
        """Perturbations drawn uniformly from the ball without the bounds, one for each seed."""

    def extreme(self, gradient: Tensor) -> Tensor:
        """The allowed image at which a linear function with this gradient is largest (the center for 0)."""
        return self.project(self.center + self.eps * self.direction(self.center, gradient))

    def distance(self, images: Tensor) -> Tensor:
        """How far each image is from its original, shape (N,)."""
        return self.length(images - self.center)

    def random_point(self, seeds: Tensor) -> Tensor:
        """A random allowed image for each original: uniform in the ball, then brought into the bounds."""
        return self.project(self.center + self.sample(seeds))


class LinfBall(Ball):
    """The largest absolute change of any value is at most eps."""

    def __post_init__(self) -> None:
        # In float32, (x + eps) - x can be larger than eps. The corners move towards x by a float where it is.
        low, high = self.bounds
        upper, lower = self.center + self.eps, self.center - self.eps
        upper = torch.where(upper - self.center > self.eps, torch.nextafter(upper, self.center), upper)
        lower = torch.where(self.center - lower > self.eps, torch.nextafter(lower, self.center), lower)
        object.__setattr__(self, "_upper", upper.clamp_(low, high))
        object.__setattr__(self, "_lower", lower.clamp_(low, high))

    _lower: Tensor  # not fields of the dataclass: derived from them
    _upper: Tensor

    @staticmethod
    def length(delta: Tensor) -> Tensor:
        """max_i |delta_i|."""
        return delta.abs().flatten(1).amax(1)

    def direction(self, images: Tensor, gradient: Tensor) -> Tensor:  # noqa: ARG002
        """The signs of the gradient."""
        return gradient.sign()

    def project(self, images: Tensor) -> Tensor:
        """Each value cut to the interval that ball and bounds leave: the nearest point."""
        return torch.clamp(images, self._lower, self._upper, out=images)

    def sample(self, seeds: Tensor) -> Tensor:
        """Each value uniform in [-eps, eps)."""
        return (2 * randomness.uniform(seeds, self.center.shape[1:]) - 1) * self.eps


class L2Ball(Ball):
    """The Euclidean length of the change is at most eps."""

    @staticmethod
    def length(delta: Tensor) -> Tensor:
        """The square root of the sum of squares."""
        lengths: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
        return lengths

    def direction(self, images: Tensor, gradient: Tensor) -> Tensor:  # noqa: ARG002
        """The gradient, brought to length 1."""
        # Scaled by the largest value first: the square of a tiny gradient is 0 in float32.
        scaled = gradient / _or_one(column(gradient.abs().flatten(1).amax(1)))
        return scaled / _or_one(column(self.length(scaled)))

    def project(self, images: Tensor) -> Tensor:
        """First shortened to length eps, then cut to the bounds.

        Not always the nearest allowed point; the order is that of Foolbox and torchattacks.
        """
        delta = images - self.center
        length = column(self.length(delta))
        return (self.center + torch.where(length > self.eps, delta * (self.eps / length), delta)).clamp_(*self.bounds)

    def sample(self, seeds: Tensor) -> Tensor:
        """A uniform direction, and a radius whose d-th power is uniform, in d dimensions."""
        direction = self.direction(self.center, randomness.normal(seeds, self.center.shape[1:]))
        dimensions = self.center[0].numel()
        radius = randomness.uniform(randomness.fold(seeds, 2), (1, 1, 1)) ** (1 / dimensions)
        return direction * radius * self.eps


class L1Ball(Ball):
    """The sum of absolute changes is at most eps."""

    # Share of the values that one step changes: Tramer and Boneh (2019), section 4.1, q = 99%.
    sparsity = 0.01

    @staticmethod
    def length(delta: Tensor) -> Tensor:
        """The sum of absolute values."""
        return delta.abs().flatten(1).sum(1)

    def direction(self, images: Tensor, gradient: Tensor) -> Tensor:
        """The signs of the largest 1% of the gradient, brought to norm 1: sparse steps (Tramer and Boneh 2019).

        The steepest step changes one value only and makes an attack slow. As there, values already at the bound
        towards which they would move are left out.
        """
        flat = torch.where(self._is_open(images, gradient), gradient, 0).flatten(1)
        k = max(1, round(self.sparsity * flat.shape[1]))
        largest, place = flat.abs().topk(k, dim=1)
        signs = flat.gather(1, place).sign() * (largest > 0)
        step = torch.zeros_like(flat).scatter_(1, place, signs / _or_one(signs.abs().sum(1, keepdim=True)))
        return step.view_as(gradient)

    def project(self, images: Tensor) -> Tensor:
        """The nearest allowed image, exactly (Croce and Hein 2021, "Mind the box")."""
        low, high = self.bounds
        eps = self.eps * (1 - 1e-6)  # room for the rounding of a sum of thousands of values
        delta = onto_l1_ball_in_box(images - self.center, eps, low - self.center, high - self.center)
        point = self.center + delta
        # What a float adds to each of thousands of values would add up: such values move back towards x by a float.
        point = torch.where((point - self.center).abs() > delta.abs(), torch.nextafter(point, self.center), point)
        return point.clamp_(low, high)

    def sample(self, seeds: Tensor) -> Tensor:
        """Exponential sizes over their sum with one more: uniform in the ball; with random signs."""
        sizes = -torch.log1p(-randomness.uniform(seeds, self.center.shape[1:]))
        rest = -torch.log1p(-randomness.uniform(randomness.fold(seeds, 1), (1, 1, 1)))
        signs = (randomness.uniform(randomness.fold(seeds, 2), self.center.shape[1:]) < 0.5).float() * 2 - 1
        return signs * sizes / (sizes.sum((1, 2, 3), keepdim=True) + rest) * self.eps

    def extreme(self, gradient: Tensor) -> Tensor:
        """The values with the largest gradients, each moved to its bound, until eps is spent."""
        low, high = self.bounds
        room = torch.where(gradient > 0, high - self.center, self.center - low).flatten(1)
        size, place = gradient.abs().flatten(1).sort(dim=1, descending=True, stable=True)
        room = torch.where(size > 0, room.gather(1, place), 0)
        spent = room.cumsum(1) - room
        change = torch.minimum(room, (self.eps.flatten(1) - spent).clamp_min(0))
        delta = torch.zeros_like(change).scatter_(1, place, change).view_as(gradient) * gradient.sign()
        return self.project(self.center + delta)

    def _is_open(self, images: Tensor, gradient: Tensor) -> Tensor:
        low, high = self.bounds
        return torch.where(gradient > 0, images < high, images > low)


BALLS: dict[Norm, type[Ball]] = {"linf": LinfBall, "l2": L2Ball, "l1": L1Ball}


def column(values: Tensor) -> Tensor:
    """Shape (N,) as (N, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def _or_one(values: Tensor) -> Tensor:
    """What to divide by: the values, and 1 where they are 0."""
    return torch.where(values > 0, values, 1)
