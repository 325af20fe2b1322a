"""The geometry of each norm: distance, steepest ascent, projection, random points of the ball.

Every function takes and returns float32 tensors of shape (N, C, H, W); radii have shape (N, 1, 1, 1).
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from robustaug import randomness
from robustaug.attacks.threat import Norm, ThreatModel


class Geometry(Protocol):
    """What an attack needs to know about a norm."""

    def distance(self, delta: Tensor) -> Tensor:
        """Norm of each perturbation, shape (N,)."""

    def ascent(self, gradient: Tensor) -> Tensor:
        """The direction of unit norm in which a linear function with this gradient grows fastest (0 for 0)."""

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        """The nearest perturbation, in Euclidean distance, with norm at most ``eps``."""

    def sample(self, seeds: Tensor, like: Tensor, eps: Tensor) -> Tensor:
        """Perturbations drawn uniformly from the ball of radius ``eps``, one for each seed."""


class Linf:
    """The largest absolute value."""

    def distance(self, delta: Tensor) -> Tensor:
        """max_i |delta_i|."""
        return delta.abs().flatten(1).amax(1)

    def ascent(self, gradient: Tensor) -> Tensor:
        """The signs of the gradient."""
        return gradient.sign()

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        """Each value cut to [-eps, eps]."""
        return torch.minimum(torch.maximum(delta, -eps), eps)

    def sample(self, seeds: Tensor, like: Tensor, eps: Tensor) -> Tensor:
        """Each value uniform in [-eps, eps)."""
        return (2 * randomness.uniform(seeds, like.shape[1:]) - 1) * eps


class L2:
    """The Euclidean length."""

    def distance(self, delta: Tensor) -> Tensor:
        """The square root of the sum of squares."""
        lengths: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
        return lengths

    def ascent(self, gradient: Tensor) -> Tensor:
        """The gradient, brought to length 1."""
        # Scaled by the largest value first: the square of a tiny gradient is 0 in float32.
        largest = gradient.abs().flatten(1).amax(1).view(-1, 1, 1, 1)
        scaled = gradient / torch.where(largest > 0, largest, 1)
        return scaled / _column(self.distance(scaled)).clamp_min(1)  # the length is at least 1, unless all is 0

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        """A longer perturbation shortened to length eps."""
        length = _column(self.distance(delta))
        return torch.where(length > eps, delta * (eps / length), delta)

    def sample(self, seeds: Tensor, like: Tensor, eps: Tensor) -> Tensor:
        """A uniform direction, and a radius whose d-th power is uniform, in d dimensions."""
        direction = self.ascent(randomness.normal(seeds, like.shape[1:]))
        dimensions = like[0].numel()
        radius = randomness.uniform(randomness.fold(seeds, 2), (1, 1, 1)) ** (1 / dimensions)
        return direction * radius * eps


GEOMETRIES: dict[Norm, Geometry] = {"linf": Linf(), "l2": L2()}


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


@dataclass(frozen=True)
class Ball:
    """The allowed images around each original: the ball of the norm cut with the bounds."""

    geometry: Geometry
    center: Tensor
    eps: Tensor
    bounds: tuple[float, float]

    @classmethod
    def around(cls, images: Tensor, threat: ThreatModel) -> "Ball":
        """The ball of each image, shape (N, C, H, W), under a threat model."""
        return cls(GEOMETRIES[threat.norm], images, threat.eps_for(images), threat.bounds)

    def __getitem__(self, rows: Tensor) -> "Ball":
        return Ball(self.geometry, self.center[rows], self.eps[rows], self.bounds)

    def project(self, images: Tensor) -> Tensor:
        """Bring images back into ball and bounds: first the ball, then the bounds.

        For originals within the bounds the second step only shrinks each value's change, so the result is in both. For
        l-infinity it is the nearest such point; for l2 it need not be (the order is that of Foolbox and torchattacks).
        """
        delta = self.geometry.project(images - self.center, self.eps)
        return (self.center + delta).clamp_(*self.bounds)

    def random_point(self, seeds: Tensor) -> Tensor:
        """A random allowed image for each original: uniform in the ball, then cut to the bounds."""
        return self.project(self.center + self.geometry.sample(seeds, self.center, self.eps))
