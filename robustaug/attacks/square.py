"""The Square Attack: random search over squares of the image, without gradients."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from robustaug import randomness
from robustaug.attacks.attack import Attack, check_count
from robustaug.attacks.ball import Ball
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle
from robustaug.attacks.square_proposals import PROPOSALS
from robustaug.attacks.threat import parse_number
from robustaug.errors import RobustAugError

# The share p of the pixels that a square covers is halved after each of these queries (section 3.2 of the paper).
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_SCHEDULE_LENGTH = 10_000  # the budget that they were made for
_LONGEST_BLOCK = 50


@dataclass(frozen=True)
class Square(Attack):
    """Square Attack (Andriushchenko, Croce, Flammarion and Hein 2020, algorithms 1 to 3), for linf, l2 and l1.

    Random search: each query changes a random square (for l2 and l1: moves the change of one window into another), and
    the new image is kept if the margin grows. It needs no gradients, so that no model can hide them from it.

    Deviations: squares are drawn for each sample and not for the batch, reach the last row and column, and images need
    not be square; with targets it climbs the margin. Samples that are broken leave at the next look and not at once.

    Attributes:
        queries: Images that each sample may send through the model in the search, at least 1; the start is the first.
            Verdicts are not counted.
        p_init: Share of the pixels that the first squares cover, in (0, 1].
        rescale_schedule: Stretch or shorten the schedule of sizes, made for 10,000 queries, to ``queries``. AutoAttack
            leaves it as it is.

    Raises:
        RobustAugError: queries below 1, or p_init outside (0, 1].
    """

    queries: int = 5000
    p_init: float = 0.8
    rescale_schedule: bool = False

    def __post_init__(self) -> None:
        check_count("queries", self.queries)
        object.__setattr__(self, "p_init", parse_number(self.p_init, "p_init"))
        if not 0 < self.p_init <= 1:
            raise RobustAugError(f"p_init is {self.p_init:g}; it must be above 0 and at most 1")

    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        kind = PROPOSALS[self.threat.norm]
        drops = not oracle.is_randomised
        result, standing = ball.center.clone(), torch.arange(len(seeds), device=seeds.device)
        if drops:
            standing = (~goal.is_met(oracle.logits(ball.center).argmax(1))).nonzero().squeeze(1)
            if len(standing) == 0:
                return result
            ball, goal, seeds = ball[standing], goal[standing], seeds[standing]
        images = ball.project(kind.start(ball, randomness.fold(seeds, 0))).contiguous()
        margin = goal.margin(oracle.search_logits(images))
        for first, count, share in self._blocks():
            if drops:
                broken = oracle.confirm(images, goal, margin > 0)
                kept = (~broken).nonzero().squeeze(1)
                if len(kept) < len(images):
                    result[standing[broken]] = images[broken]
                    if len(kept) == 0:
                        return result
                    standing, images, margin, seeds = standing[kept], images[kept], margin[kept], seeds[kept]
                    ball, goal = ball[kept], goal[kept]
            search = kind(ball, images, share, randomness.fold(seeds, first), count)
            pixels = images.view(len(images), -1)  # the same memory
            for query in range(count):
                edits = search.propose(pixels, query)
                before = [pixels.gather(1, places) for places, _ in edits]
                for places, values in edits:
                    pixels.scatter_(1, places, values)
                new_margin = goal.margin(oracle.search_logits(images))
                better = new_margin > margin
                margin = torch.maximum(margin, new_margin)
                for (places, values), old in zip(edits, before, strict=True):
                    pixels.scatter_(1, places, torch.where(better[:, None], values, old))
                search.settle(better)
            images = ball.project(images).contiguous()  # takes off what rounding added up to
        result[standing] = images
        return result

    def _blocks(self) -> Iterator[tuple[int, int, float]]:
        """First query, number of queries and share p: what lies between two looks for broken samples.

        Often at first, when most break. To look costs a host synchronisation, and each new batch size preparation.
        """
        first = 1
        while first < self.queries:
            share = self._share(first)
            last = min(first + min(max(1, first // 8), _LONGEST_BLOCK), self.queries)
            count = sum(self._share(query) == share for query in range(first, last))  # shares only fall
            yield first, count, share
            first += count

    def _share(self, query: int) -> float:
        number = query - 1  # of the proposal, from 0
        if self.rescale_schedule:
            number = number * _SCHEDULE_LENGTH // self.queries
        return self.p_init * 0.5 ** bisect_left(_HALVINGS, number)
