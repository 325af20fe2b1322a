"""The smallest eps that breaks each sample, by bisection, and with it accuracy against eps as a whole curve."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from robustaug.attacks.attack import Attack, BatchSize
from robustaug.attacks.ball import Ball
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle
from robustaug.attacks.threat import ThreatModel, parse_number
from robustaug.errors import RobustAugError

_SMALLEST_GUESS = 1 / 256  # share of the diagonal to begin with where the attack's own eps is 0


@dataclass(frozen=True)
class MinimalEps:
    """The smallest change that was seen to break each sample.

    Attributes:
        eps: Its length in the threat model's norm, float32 (N,): 0 for images that the model got wrong from the start,
            infinite where nothing broke the sample.
        images: The evidence, float32 (N, C, H, W): an image at distance ``eps`` that breaks the sample, checked in
            float32 and eval mode; the original where there is none.
        predictions: Predicted class of those images, int64 (N,).
        forward_passes: Images sent through the model in total.
        backward_passes: Images whose gradient was taken in total.
    """

    eps: Tensor
    images: Tensor
    predictions: Tensor
    forward_passes: int
    backward_passes: int

    def accuracy_at(self, eps: float | Sequence[float] | Tensor) -> Tensor:
        """Share of the samples that stand at these radii, float32 of the same shape; it never rises with eps.

        At 0 that is the accuracy without attack. With targets: the share that does not reach its target.
        """
        radii = torch.as_tensor(eps, dtype=torch.float32, device=self.eps.device)
        broken = torch.searchsorted(self.eps.sort().values, radii, right=True)
        return 1 - broken / len(self.eps)

    @property
    def median(self) -> float:
        """The radius at which half of the samples are broken; infinite if that never happens."""
        return float(self.eps.median())


def minimal_eps(
    attack: Attack,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    seeds: Tensor | None = None,
    eps_max: float | str | None = None,
    tolerance: float = 0.01,
    batch_size: BatchSize = None,
) -> MinimalEps:
    """Find the smallest eps at which the attack breaks each sample.

    Each sample has its own bracket. It starts at the attack's own eps, doubles until the sample breaks, and is then
    bisected; the attack is called only on the samples whose bracket is still too wide. A real attack does not break a
    sample at every eps above the smallest one: what counts is the nearest adversarial image that was seen, and its
    distance, which may be well below the eps tried, is the bracket's new end. So the result is an upper bound of a
    sample's true distance from the decision boundary, as good as the attack.

    ``PGD(..., early_exit=True)`` pays here. Leave ``step_size=None``: steps then grow and shrink with eps. Steps of
    fixed size may be too short for radii above the attack's own, and too coarse for those below it.

    Args:
        attack: Any attack of the library. Its threat model gives the norm, the bounds and the eps to begin with.
        model: As for an attack; so are ``images``, ``labels``, ``targets`` and ``batch_size``.
        images: Shape (N, C, H, W).
        labels: Shape (N,).
        targets: Shape (N,).
        seeds: As for an attack. A sample has the same seed at every radius, and so the same result in any batch.
        eps_max: Where to give up; by default the diagonal of the bounds, which no image is farther away than.
        tolerance: Width at which a bracket is narrow enough, as a share of its upper end, or of the attack's own eps
            where that is larger; above 0 and below 1.
        batch_size: Images attacked at a time.

    Raises:
        RobustAugError: as the attack; or a tolerance or eps_max out of range.
    """
    tolerance = parse_number(tolerance, "tolerance")
    if not 0 < tolerance < 1:
        raise RobustAugError(f"tolerance is {tolerance:g}; it must be above 0 and below 1")
    clean = _Nothing(attack.threat)(model, images, labels, targets=targets, seeds=seeds, batch_size=batch_size)
    seeds = torch.arange(len(images)) if seeds is None else seeds.cpu()
    forward_passes, backward_passes = clean.forward_passes, clean.backward_passes
    found, predictions = clean.images.clone(), clean.predictions.clone()
    # Brackets are float64, on the CPU: an attack takes its radii from there.
    limit = _limit(attack.threat, images, eps_max)
    trial = attack.threat.eps_for(images).flatten().cpu().double()
    guess = trial = torch.where(trial > 0, trial, _SMALLEST_GUESS * limit).clamp(max=limit)
    eps = torch.where(clean.success.cpu(), 0.0, torch.inf).double()
    low, high = torch.zeros_like(eps), eps.clone()
    while True:
        is_open = torch.where(high.isinf(), low < limit, high - low > tolerance * torch.maximum(high, guess))
        rows = is_open.nonzero().squeeze(1)
        if len(rows) == 0:
            return MinimalEps(eps.float().to(images.device), found, predictions, forward_passes, backward_passes)
        here = rows.to(images.device)
        result = replace(attack, threat=replace(attack.threat, eps=tuple(trial[rows].tolist())))(
            model,
            images[here],
            labels[here],
            targets=None if targets is None else targets[here],
            seeds=seeds[rows],
            batch_size=batch_size,
        )
        forward_passes += result.forward_passes
        backward_passes += result.backward_passes
        success, distance = result.success.cpu(), result.distance.cpu().double()
        low[rows[~success]] = trial[rows[~success]]
        high[rows] = torch.where(success, torch.minimum(distance, trial[rows]), high[rows])
        nearer = success & (distance < eps[rows])
        eps[rows[nearer]] = distance[nearer]
        found[here[nearer]], predictions[here[nearer]] = result.images[nearer], result.predictions[nearer]
        trial = torch.where(high.isinf(), (2 * trial).clamp(max=limit), (low + high) / 2)


@dataclass(frozen=True)
class _Nothing(Attack):
    """Leaves the images as they are: the checks and the verdict of an attack."""

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:  # noqa: ARG002
        return ball.center


def _limit(threat: ThreatModel, images: Tensor, eps_max: float | str | None) -> float:
    if eps_max is not None:
        eps_max = parse_number(eps_max, "eps_max")
        replace(threat, eps=eps_max).eps_for(images)  # refuses what is out of range
        return eps_max
    return threat.largest_distance(images[0].numel() if len(images) else 1)
