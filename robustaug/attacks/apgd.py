"""Auto-PGD: projected gradient ascent with momentum that chooses its own step sizes."""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from robustaug import randomness
from robustaug.attacks.attack import GradientAttack, check_count
from robustaug.attacks.ball import Ball, column
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Evaluation, Oracle
from robustaug.attacks.pgd import is_time_to_look
from robustaug.attacks.threat import Norm, parse_number
from robustaug.errors import RobustAugError

# In units of eps, the larger balls that a run begins in (Croce and Hein 2021, section 4.2).
_WIDE_BALLS: dict[Norm, tuple[int, ...]] = {"linf": (), "l2": (), "l1": (3, 2)}


class Ascent(NamedTuple):
    """Where a climb ended: images (N, C, H, W), their margins (N,), and which are known to be broken, bool (N,)."""

    images: Tensor
    margin: Tensor
    broken: Tensor


@dataclass(frozen=True)
class APGD(GradientAttack):
    """APGD (Croce and Hein 2020b, algorithm 1); for l1 the version of Croce and Hein (2021, "Mind the box", section 4).

    A sample leaves with the first iterate that float32 confirms as broken; of a sample that stands, the iterate of the
    highest loss is kept, the last one included. A randomised model's samples never leave: theirs is the iterate that
    the averaged logits get most wrong, or else that of the highest loss. Samples that the model gets wrong from the
    start are left as they are.

    Attributes:
        steps: Gradient steps of a run, at least 1. One gradient more is taken, at the start; for l1 three more.
        restarts: Independent runs, at least 1. Each sample keeps its worst result: a broken one before any that is
            not, then the larger margin.
        rho: Share of the steps between two checkpoints that must raise the loss, or else the step size is halved;
            between 0 and 1. Not used for l1.
        targets_tried: APGD-T: run towards the classes with the 2nd largest logits, the 3rd and so on, this many (or all
            there are), one after the other on what still stands. Any wrong class is a success. Made for the loss
            ``"dlr"``. Targets that the caller gives come first: then there is one target, and only that is a success.

    Raises:
        RobustAugError: steps, restarts or targets_tried below 1, or rho outside [0, 1].
    """

    steps: int = 100
    restarts: int = 1
    rho: float = 0.75
    targets_tried: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)
        check_count("restarts", self.restarts)
        if self.targets_tried is not None:
            check_count("targets_tried", self.targets_tried)
        object.__setattr__(self, "rho", parse_number(self.rho, "rho"))
        if not 0 <= self.rho <= 1:
            raise RobustAugError(f"rho is {self.rho:g}; it must be between 0 and 1")

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        logits = oracle.logits(ball.center)
        worst, margin = ball.center.clone(), torch.full_like(logits[:, 0], -torch.inf)
        broken = goal.is_met(logits.argmax(1)) & (not oracle.is_randomised)
        aims, run = self._aims(goal, logits), 0
        while run < len(aims) and len(standing := (~broken).nonzero().squeeze(1)):
            now = range(run, run + oracle.fitting(len(aims) - run, len(standing)))
            rows, run = standing.repeat(len(now)), now.stop
            aim = Goal.joined([aims[i][standing] for i in now])
            run_seeds = torch.cat([randomness.fold(seeds[standing], i) for i in now])
            end = self._run(oracle, ball[rows], goal[rows], aim, run_seeds)
            # The first run that broke the sample, as if each had had its turn, or else the one that came nearest.
            first = torch.where(end.broken, torch.inf, end.margin).view(len(now), -1).argmax(0)
            place = first * len(standing) + torch.arange(len(standing), device=rows.device)
            place = place[end.broken[place] | (end.margin[place] > margin[standing])]
            rows = rows[place]
            worst[rows], margin[rows], broken[rows] = end.images[place], end.margin[place], end.broken[place]
        return worst

    def _aims(self, goal: Goal, logits: Tensor) -> list[Goal]:
        """What each run climbs towards."""
        aims = [goal]
        if self.targets_tried is not None and goal.targets is None:
            others = logits.scatter(1, goal.labels[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
            tried = min(self.targets_tried, logits.shape[1] - 1)
            aims = [Goal(goal.labels, target) for target in others[:, :tried].unbind(1)]
        return [aim for aim in aims for _ in range(self.restarts)]

    def _run(self, oracle: Oracle, ball: Ball, goal: Goal, aim: Goal, seeds: Tensor) -> Ascent:
        """One climb from a random start; for l1 in balls of 3, 2 and 1 eps, each from the best point of the last."""
        wide = _WIDE_BALLS[self.threat.norm]
        start = self._random_start(replace(ball, eps=max((*wide, 1)) * ball.eps), seeds)
        for factor in wide:
            around = replace(ball, eps=factor * ball.eps)
            start = around.project(start)
            start = self._climb(oracle, around, goal, aim, start, self._wide_steps, is_final=False).images
        return self._climb(oracle, ball, goal, aim, ball.project(start), self.steps - len(wide) * self._wide_steps)

    @property
    def _wide_steps(self) -> int:
        return 3 * self.steps // 10

    def _random_start(self, ball: Ball, seeds: Tensor) -> Tensor:
        """For linf uniform in the ball; for l2 and l1 Gaussian noise brought into it, as in AutoAttack's code."""
        if self.threat.norm == "linf":
            return ball.random_point(seeds)
        low, high = ball.bounds
        return ball.project(ball.center + (high - low) * randomness.normal(seeds, ball.center.shape[1:]))

    def _climb(
        self, oracle: Oracle, ball: Ball, goal: Goal, aim: Goal, start: Tensor, steps: int, *, is_final: bool = True
    ) -> Ascent:
        """Algorithm 1 from a start inside the ball; the line numbers are its own.

        If this ball ``is_final``, whatever meets the goal is a result; otherwise only the highest loss is wanted.
        """
        climb: _Climb = (_SparseClimb if self.threat.norm == "l1" else _HalvingClimb)(ball, goal, aim, start)
        end = Ascent(start.clone(), torch.empty_like(ball.eps.flatten()), torch.zeros_like(goal.labels).bool())
        drops = is_final and not oracle.is_randomised
        checkpoints = climb.checkpoints(steps)
        for step in range(steps + 1):
            climb.take_in(oracle.gradient(climb.images, self._loss(climb.aim)))  # lines 4, 5 and 9 to 11
            if drops and (is_time_to_look(step) or step == steps):
                broken = oracle.confirm(climb.found, climb.goal, climb.found_margin >= 0)
                if broken.any():
                    rows = climb.place[broken]
                    end.images[rows], end.margin[rows], end.broken[rows] = climb.found[broken], torch.inf, True
                    climb = climb[~broken]
                    if len(climb.place) == 0:
                        return end
                climb.found_margin = torch.full_like(climb.found_margin, -torch.inf)  # what was found was refuted
            if step in checkpoints:
                climb.adapt(self.rho * checkpoints[step])  # lines 12 to 16
            if step < steps:
                climb.move(1.0 if step == 0 else 0.75)  # lines 3, 7 and 8
        found = climb.found_margin >= 0 if is_final else torch.zeros_like(climb.place).bool()
        end.images[climb.place] = torch.where(column(found), climb.found, climb.best)
        end.margin[climb.place] = torch.where(found, climb.found_margin, climb.best_margin)
        return end


class _Climb(ABC):
    """What the climbing samples carry along: every attribute has one entry a sample, and ``climb[rows]`` keeps some."""

    def __init__(self, ball: Ball, goal: Goal, aim: Goal, start: Tensor) -> None:
        lowest = torch.full_like(ball.eps.flatten(), -torch.inf)
        self.place = torch.arange(len(start), device=start.device)  # row at the foot of the hill
        self.ball, self.goal, self.aim = ball, goal, aim
        self.images = self.previous = start  # x(k) and x(k-1)
        self.gradient, self.loss = torch.zeros_like(start), -lowest
        self.best, self.best_gradient, self.best_loss, self.best_margin = start, self.gradient, lowest, lowest  # x_max
        self.found, self.found_margin = start, lowest  # the iterate furthest beyond the decision, if any is
        self.rises = torch.zeros_like(lowest)  # steps since the last checkpoint that raised the loss
        self.step_size = ball.eps

    def __getitem__(self, rows: Tensor) -> Self:
        kept = copy.copy(self)
        for name, value in vars(self).items():
            setattr(kept, name, value[rows])
        return kept

    def take_in(self, seen: Evaluation) -> None:
        """Note what the model says of the images. Nothing waits for the device."""
        self.gradient = seen.gradient
        self.rises = self.rises + (seen.losses > self.loss)
        self.loss = seen.losses
        margin = self.goal.margin(seen.logits)
        higher, further = seen.losses > self.best_loss, (margin >= 0) & (margin > self.found_margin)
        self.best_loss = torch.where(higher, seen.losses, self.best_loss)
        self.best_margin = torch.where(higher, margin, self.best_margin)
        self.best = torch.where(column(higher), self.images, self.best)
        self.best_gradient = torch.where(column(higher), self.gradient, self.best_gradient)
        self.found_margin = torch.where(further, margin, self.found_margin)
        self.found = torch.where(column(further), self.images, self.found)

    def return_to_best(self, rows: Tensor) -> None:
        """Put these rows, bool (N,), back to the iterate of the highest loss."""
        self.images = torch.where(column(rows), self.best, self.images)
        self.gradient = torch.where(column(rows), self.best_gradient, self.gradient)

    @staticmethod
    @abstractmethod
    def checkpoints(steps: int) -> dict[int, int]:
        """The steps at which to adapt, each with the number of steps since the one before."""

    @abstractmethod
    def adapt(self, enough: float) -> None:
        """Choose the size of the next steps; ``enough`` of the last ones should have raised the loss."""

    @abstractmethod
    def move(self, alpha: float) -> None:
        """One step; ``alpha`` is the share of the new direction beside the last one's."""


class _HalvingClimb(_Climb):
    """For linf and l2: momentum, and steps of 2 eps that are halved (section 3 of the paper)."""

    def __init__(self, ball: Ball, goal: Goal, aim: Goal, start: Tensor) -> None:
        super().__init__(ball, goal, aim, start)
        self.step_size = 2 * ball.eps
        self.was_halved = torch.ones_like(self.place).bool()
        self.best_loss_then = self.best_loss  # at the last checkpoint

    @staticmethod
    def checkpoints(steps: int) -> dict[int, int]:
        """After 22% of the steps, then intervals shorter by 3% each time, down to 6%."""
        interval, step, found = max(22 * steps // 100, 1), 0, {}
        while step + interval <= steps:
            step += interval
            found[step] = interval
            interval = max(interval - max(3 * steps // 100, 1), 6 * steps // 100, 1)
        return found

    def adapt(self, enough: float) -> None:
        # Condition 1. Deviation: "<" in the paper, "<=" in AutoAttack's code and here.
        rarely_rises = self.rises <= enough
        # Condition 2: neither step size nor highest loss have changed since the last checkpoint.
        is_stuck = ~self.was_halved & (self.best_loss <= self.best_loss_then)
        self.was_halved = rarely_rises | is_stuck
        self.step_size = torch.where(column(self.was_halved), self.step_size / 2, self.step_size)
        self.return_to_best(self.was_halved)
        self.best_loss_then, self.rises = self.best_loss, torch.zeros_like(self.rises)

    def move(self, alpha: float) -> None:
        x, ball = self.images, self.ball
        z = ball.project(x + self.step_size * ball.direction(x, self.gradient))  # line 7
        self.images = ball.project(x + alpha * (z - x) + (1 - alpha) * (x - self.previous))  # line 8
        self.previous = x


class _SparseClimb(_Climb):
    """For l1: sparse steps without momentum, as sparse as the best perturbation so far (Croce and Hein 2021)."""

    def __init__(self, ball: Ball, goal: Goal, aim: Goal, start: Tensor) -> None:
        super().__init__(ball, goal, aim, start)
        self.changed = self._changed(start)  # values that differ from the original, at the last checkpoint

    @staticmethod
    def checkpoints(steps: int) -> dict[int, int]:
        """Every 4% of the steps."""
        interval = max(4 * steps // 100, 1)
        return dict.fromkeys(range(interval, steps + 1, interval), interval)

    def adapt(self, enough: float) -> None:  # noqa: ARG002
        changed = self._changed(self.best)
        # Where the perturbation has become sparser by 5%, long steps from the best point; otherwise ever shorter ones.
        is_sparser = changed < 0.95 * self.changed
        shorter = torch.maximum(self.step_size / 1.5, self.ball.eps / 10)
        self.step_size = torch.where(column(is_sparser), self.ball.eps, shorter)
        self.return_to_best(is_sparser)
        self.changed = changed

    def move(self, alpha: float) -> None:  # noqa: ARG002
        low, high = self.ball.bounds
        # Deviation: values whose original is at the bound beyond which they would go are left out. They can be most of
        # those chosen, or all.
        is_open = torch.where(self.gradient > 0, self.ball.center < high, self.ball.center > low)
        gradient = (self.gradient * is_open).flatten(1)
        size = gradient.abs()
        # The largest values of the gradient, 1 / 1.5 times as many as differ from the original.
        rank = (size.shape[1] - self.changed / 1.5).long().clamp_(max=size.shape[1] - 1)
        smallest = size.sort(dim=1).values.gather(1, rank[:, None])
        signs = gradient.sign() * (size >= smallest)
        direction = signs / signs.abs().sum(1, keepdim=True).clamp_min(1)
        self.images = self.ball.project(self.images + self.step_size * direction.view_as(self.images))

    def _changed(self, images: Tensor) -> Tensor:
        return (images != self.ball.center).flatten(1).sum(1).float()
