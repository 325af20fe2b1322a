"""Projected gradient descent on the negative loss: PGD."""

from dataclasses import dataclass

import torch
from torch import Tensor

from robustaug import randomness
from robustaug.attacks.attack import GradientAttack, check_count, is_surely_met
from robustaug.attacks.ball import Ball
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle
from robustaug.attacks.threat import parse_number
from robustaug.errors import RobustAugError


@dataclass(frozen=True)
class PGD(GradientAttack):
    """PGD (Madry, Makelov, Schmidt, Tsipras and Vladu 2018, section 2.1), for linf, l2 and l1.

    From a random point of the ball, ``steps`` steps of steepest ascent on the loss, each projected back:
    x <- project(x + step_size * direction(gradient)). The last iterate counts, as in the paper. For l1 the steps are
    sparse (Tramer and Boneh 2019) and the projection is exact.

    Attributes:
        steps: Gradient steps, at least 1.
        step_size: Length of a step in the norm; by default 2.5 * eps / steps (section 5.2 of the paper's experiments
            use about that: enough to cross the ball, with room to come back).
        restarts: Independent runs, at least 1. Each sample keeps its worst result: a broken one before any that is
            not, then the larger margin. Samples that are broken are left out of later restarts, which changes no
            result.
        random_start: Start at a random point, uniform in the ball; otherwise at the image itself.
        early_exit: A sample leaves with the first iterate that breaks it. Faster, and at least as strong: the last
            iterate is not the only one that counts. A randomised model turns it off.
        stacked: Run all restarts as one batch, ``restarts`` times as large: for small batches on a GPU.

    Raises:
        RobustAugError: steps or restarts below 1, a step size that is not positive, restarts without a random start.
    """

    steps: int = 40
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = True
    early_exit: bool = False
    stacked: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)
        check_count("restarts", self.restarts)
        if self.step_size is not None:
            object.__setattr__(self, "step_size", parse_number(self.step_size, "step_size"))
            if self.step_size <= 0:
                raise RobustAugError(f"step_size is {self.step_size}; it must be larger than 0")
        if self.restarts > 1 and not self.random_start:
            raise RobustAugError(
                "restarts without random_start all give the same result; set random_start or restarts=1"
            )

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        if self.stacked and self.restarts > 1:
            return self._stacked_search(oracle, ball, goal, seeds)
        worst = self._ascend(oracle, ball, goal, randomness.fold(seeds, 0))
        if self.restarts == 1:
            return worst
        margin = goal.margin(oracle.logits(worst))
        for restart in range(1, self.restarts):
            standing = torch.arange(len(seeds), device=seeds.device)
            if not oracle.is_randomised:
                standing = (margin <= 0).nonzero().squeeze(1)
            if len(standing) == 0:
                break
            images = self._ascend(oracle, ball[standing], goal[standing], randomness.fold(seeds[standing], restart))
            new_margin = goal[standing].margin(oracle.logits(images))
            better = new_margin > margin[standing]
            worst[standing[better]] = images[better]
            margin[standing[better]] = new_margin[better]
        return worst

    def _stacked_search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        n = len(seeds)
        rows = torch.arange(n, device=seeds.device).repeat(self.restarts)
        all_seeds = torch.cat([randomness.fold(seeds, restart) for restart in range(self.restarts)])
        images = self._ascend(oracle, ball[rows], goal[rows], all_seeds)
        margins = goal[rows].margin(oracle.logits(images)).view(self.restarts, n)
        # The first that breaks a sample, as in the loop over restarts, else the largest margin.
        ranks = torch.where(margins > 0, torch.inf, margins)
        return images.view(self.restarts, n, *images.shape[1:])[ranks.argmax(0), torch.arange(n, device=seeds.device)]

    def _ascend(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        step_size = self._default_step_size(ball.eps) if self.step_size is None else self.step_size * ball.eps.sign()
        images = ball.random_point(seeds) if self.random_start else ball.center.clone()
        velocity: Tensor | None = None
        drops = self.early_exit and not oracle.is_randomised
        if drops:
            result, standing = images.clone(), torch.arange(len(images), device=images.device)
        for step in range(self.steps):
            seen = oracle.gradient(images, self._loss(goal))
            gradient = seen.gradient
            if drops and is_time_to_look(step):
                broken = is_surely_met(seen.logits, goal, oracle)
                result[standing[broken]] = images[broken]
                kept = (~broken).nonzero().squeeze(1)
                if len(kept) == 0:
                    return result
                if len(kept) < len(images):
                    standing, images, gradient, step_size = (
                        standing[kept],
                        images[kept],
                        gradient[kept],
                        step_size[kept],
                    )
                    ball, goal = ball[kept], goal[kept]
                    velocity = None if velocity is None else velocity[kept]
            velocity = self._accumulated(velocity, gradient)
            images = ball.project(images + step_size * ball.direction(images, velocity))
        if drops:
            result[standing] = images
            return result
        return images

    def _accumulated(self, velocity: Tensor | None, gradient: Tensor) -> Tensor:  # noqa: ARG002 - see MI-FGSM
        return gradient

    def _default_step_size(self, eps: Tensor) -> Tensor:
        return 2.5 * eps / self.steps


def is_time_to_look(step: int) -> bool:
    """Whether to look for broken samples after ``step`` (from 0): often at first, when most break, then seldom.

    To look costs a host synchronisation, and each new batch size costs preparation.
    """
    return step < 4 or (step < 16 and step % 4 == 0) or step % 10 == 0
