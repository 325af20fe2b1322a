"""Projected gradient descent on the negative loss: PGD."""

from dataclasses import dataclass

from torch import Tensor

from robustaug import randomness
from robustaug.attacks.attack import Attack, Goal
from robustaug.attacks.norms import Ball
from robustaug.attacks.oracle import Oracle
from robustaug.attacks.threat import parse_number
from robustaug.errors import RobustAugError


@dataclass(frozen=True)
class PGD(Attack):
    """PGD (Madry, Makelov, Schmidt, Tsipras and Vladu 2018, section 2.1), for l-infinity and l2.

    From a random point of the ball, ``steps`` steps of steepest ascent on the cross-entropy, each projected back:
    x <- project(x + step_size * ascent(gradient)). The last iterate counts, as in the paper.

    Attributes:
        steps: Gradient steps, at least 1.
        step_size: Length of a step in the norm; by default 2.5 * eps / steps (section 5.2 of the paper's experiments
            use about that: enough to cross the ball, with room to come back).
        restarts: Independent runs, at least 1. Each sample keeps its worst result: a broken one before any that is
            not, then the larger margin. Samples that are broken are left out of later restarts, which changes no
            result.
        random_start: Start at a random point, uniform in the ball; otherwise at the image itself.

    Raises:
        RobustAugError: steps or restarts below 1, a step size that is not positive, restarts without a random start.
    """

    steps: int = 40
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = True

    def __post_init__(self) -> None:
        for name, number in (("steps", self.steps), ("restarts", self.restarts)):
            if number < 1:
                raise RobustAugError(f"{name} is {number}; it must be at least 1")
        if self.step_size is not None:
            object.__setattr__(self, "step_size", parse_number(self.step_size, "step_size"))
            if self.step_size <= 0:
                raise RobustAugError(f"step_size is {self.step_size}; it must be larger than 0")
        if self.restarts > 1 and not self.random_start:
            raise RobustAugError(
                "restarts without random_start all give the same result; set random_start or restarts=1"
            )

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        worst = self._ascend(oracle, ball, goal, randomness.fold(seeds, 0))
        if self.restarts == 1:
            return worst
        margin = goal.margin(oracle.logits(worst))
        for restart in range(1, self.restarts):
            standing = (margin <= 0).nonzero().squeeze(1)
            if len(standing) == 0:
                break
            images = self._ascend(oracle, ball[standing], goal[standing], randomness.fold(seeds[standing], restart))
            new_margin = goal[standing].margin(oracle.logits(images))
            better = new_margin > margin[standing]
            worst[standing[better]] = images[better]
            margin[standing[better]] = new_margin[better]
        return worst

    def _ascend(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        step_size = 2.5 * ball.eps / self.steps if self.step_size is None else self.step_size
        images = ball.random_point(seeds) if self.random_start else ball.center.clone()
        for _ in range(self.steps):
            gradient = goal.gradient(oracle, images)
            images = ball.project(images + step_size * ball.geometry.ascent(gradient))
        return images
