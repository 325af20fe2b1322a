"""The fast adaptive boundary attack: FAB."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks.attack import Attack, BatchSize, check_count
from robustaug.attacks.ball import Ball, column
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Evaluation, Oracle
from robustaug.attacks.projections import onto_hyperplane_in_box
from robustaug.errors import RobustAugError


@dataclass(frozen=True)
class FAB(Attack):
    """FAB-T (Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack").

    It looks for the adversarial image nearest to the original, whatever eps is: from the image, step onto the decision
    boundary between label and target, made linear (with 5% to spare, and drawn a little towards the step from the
    original); from each adversarial point go back a tenth of the way to the original, and again. Each of the classes
    with the largest logits after the label is a target in turn (FAB-T, as in AutoAttack), with success whenever the
    prediction is not the label. A sample leaves with the first adversarial image within eps.

    Called with targets, it goes to those alone, over the boundary between the target and the largest other class.

    A step costs each sample one forward and one backward pass, and a search one of each more. In bfloat16 a float32
    forward pass comes on top: only the gradients are bfloat16.

    Deviations from the paper:
        - The boundary is made linear at the last point evaluated, and not at the point a tenth of the way back from
          it, which saves the evaluation of that point: one pass in three. The last point is also nearer to the
          boundary, and the distances found are a little smaller.
        - There is no final search, as in AutoAttack.

    Attributes:
        steps: Steps for each target and restart, at least 1.
        restarts: Searches for each target, at least 1: the first from the original; when all targets had theirs, others
            from a random point of the ball half as wide.
        targets_tried: How many classes are targets, at least 1; where the model has fewer others, all of those.
        alpha_max: Largest share of the step from the original, 0 to 1.
        eta: How far each step goes: 1 ends on the boundary made linear; at least 1.
        beta: How far from the original an adversarial point is taken back, as a share of its distance; 0 to 1.

    Raises:
        RobustAugError: a parameter out of its range.
    """

    steps: int = 100
    restarts: int = 1
    targets_tried: int = 9
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    def __post_init__(self) -> None:
        for name in ("steps", "restarts", "targets_tried"):
            check_count(name, getattr(self, name))
        for name, low, high in (("alpha_max", 0, 1), ("eta", 1, 2), ("beta", 0, 1)):
            if not low <= getattr(self, name) <= high:
                raise RobustAugError(f"{name} is {getattr(self, name)}; it must be from {low} to {high}")

    def closest(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        targets: Tensor | None = None,
        seeds: Tensor | None = None,
        batch_size: BatchSize = None,
    ) -> tuple[Tensor, Tensor]:
        """The nearest adversarial images found, whatever eps is: for curves of accuracy against eps.

        No sample leaves early, so every target and restart is searched to the end.

        Args:
            model: As in a call, and so are the others.
            images: Float32, (N, C, H, W).
            labels: int64, (N,).
            targets: int64, (N,), or None.
            seeds: int64, (N,), or None.
            batch_size: Images attacked at a time.

        Returns:
            The images, (N, C, H, W), and their distances from the originals in the threat model's norm, (N,): 0 where
            the model was wrong from the start, infinity (with the original) where nothing was found.

        Raises:
            RobustAugError: as in a call.
        """
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        found = _Closest(**settings)(model, images, labels, targets=targets, seeds=seeds, batch_size=batch_size)
        return found.images, torch.where(found.success, found.distance, torch.inf)

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        enough = torch.zeros_like(ball.eps) if oracle.is_randomised else ball.eps
        return ball.project(self._nearest(oracle, ball, goal, seeds, enough.flatten()))

    def _nearest(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor, enough: Tensor) -> Tensor:
        """The nearest adversarial images, or the first at a distance of at most ``enough``, (N,)."""
        logits = oracle.logits(ball.center)
        nearest = ball.center.clone()
        distance = torch.where(goal.is_met(logits.argmax(1)), 0.0, torch.inf)
        targets = self._all_targets(goal, logits)
        for restart in range(self.restarts):
            known, tried = distance.clone(), 0
            while tried < len(targets) and len(rows := (distance > enough).nonzero().squeeze(1)):
                now = range(tried, tried + oracle.fitting(len(targets) - tried, len(rows)))
                each, tried = rows.repeat(len(now)), now.stop
                start, around = ball.center[each], ball[each]
                if restart > 0:
                    radius = (known[each] / around.eps.flatten()).clamp_max(1) / 2
                    run_seeds = [randomness.fold(seeds[rows], i * self.restarts + restart) for i in now]
                    start = torch.lerp(start, around.random_point(torch.cat(run_seeds)), column(radius))
                aims = torch.cat([targets[i][rows] for i in now])
                images, lengths = self._approach(oracle, around, goal[each], aims, start, enough[each])
                # The first target that is near enough, as if each had had its turn, or else the nearest.
                first = torch.where(lengths <= enough[each], -1, lengths).view(len(now), -1).argmin(0)
                place = first * len(rows) + torch.arange(len(rows), device=rows.device)
                place = place[lengths[place] < distance[rows]]
                nearest[each[place]], distance[each[place]] = images[place], lengths[place]
        return nearest

    def _all_targets(self, goal: Goal, logits: Tensor) -> list[Tensor]:
        """The targets of the searches, (N,) each."""
        if goal.targets is not None:
            return [goal.targets]
        others = logits.scatter(1, goal.labels[:, None], -torch.inf).sort(dim=1, descending=True, stable=True).indices
        return list(others[:, : min(self.targets_tried, logits.shape[1] - 1)].unbind(1))

    def _approach(
        self, oracle: Oracle, ball: Ball, goal: Goal, targets: Tensor, point: Tensor, enough: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One search: the nearest adversarial images that it meets, and their distances (infinity if it meets none)."""
        nearest, distance = point.clone(), torch.full_like(enough, torch.inf)
        rows = torch.arange(len(point), device=point.device)
        for step in range(self.steps + 1):
            lead = _lead(goal, targets)
            seen = oracle.gradient(point, lead)
            if not oracle.is_exact:  # a bfloat16 error of the lead is longer than a step near the boundary
                logits = oracle.fine_logits(point)
                seen = Evaluation(seen.gradient, lead(logits), logits)
            adversarial = goal.is_met(seen.logits.argmax(1))
            length = ball.distance(point)
            nearer = adversarial & (length < distance[rows])
            place = nearer.nonzero().squeeze(1)
            nearest[rows[place]], distance[rows[place]] = point[place], length[place]

            over = distance[rows] <= enough[rows]
            if step == self.steps or over.all():
                break
            if over.any():
                kept = (~over).nonzero().squeeze(1)
                rows, point, adversarial, targets = rows[kept], point[kept], adversarial[kept], targets[kept]
                ball, goal, seen = ball[kept], goal[kept], Evaluation(*(value[kept] for value in seen))
            point = self._step(ball, point, adversarial, seen)
        return nearest, distance

    def _step(self, ball: Ball, point: Tensor, adversarial: Tensor, seen: Evaluation) -> Tensor:
        """Back towards the original if the point is adversarial, then onto the boundary made linear at the point."""
        center, normal = ball.center, seen.gradient.flatten(1)
        here = torch.lerp(center, point, torch.where(column(adversarial), self.beta, 1.0))

        def way(start: Tensor) -> Tensor:
            """From ``start`` to the boundary, where losses + normal . (image - point) = 0."""
            gap = -seen.losses - (normal * (start - point).flatten(1)).sum(1)
            return onto_hyperplane_in_box(self.threat.norm, start.flatten(1), normal, gap, ball.bounds).view_as(start)

        ahead, from_center = way(here), way(center)
        length, length_from_center = (ball.length(step).clamp_min(1e-8) for step in (ahead, from_center))
        alpha = column((length / (length + length_from_center)).clamp_max(self.alpha_max))
        return torch.lerp(here + self.eta * ahead, center + self.eta * from_center, alpha).clamp_(*ball.bounds)


class _Closest(FAB):
    """FAB that never has enough, and gives what it found as it is."""

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        return self._nearest(oracle, ball, goal, seeds, torch.zeros_like(ball.eps.flatten()))


def _lead(goal: Goal, targets: Tensor) -> Callable[[Tensor], Tensor]:
    """By how much the target's logit exceeds that of the label; if the target itself is the goal, of all others."""
    if goal.targets is not None:
        return goal.margin
    return lambda logits: (logits.gather(1, targets[:, None]) - logits.gather(1, goal.labels[:, None])).squeeze(1)
