"""What the Square Attack proposes: changes of random squares, for each norm."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from robustaug import randomness
from robustaug.attacks.ball import Ball, column
from robustaug.attacks.threat import Norm

# A proposal: places in the flattened images and the values to write there, (N, M) each; written one after the other.
Edits = list[tuple[Tensor, Tensor]]


class Proposals(ABC):
    """Proposals of one norm for a block of queries, all with squares of one size."""

    smallest_side = 1
    positions = 1  # of squares in a proposal

    def __init__(self, ball: Ball, images: Tensor, share: float, seeds: Tensor, count: int) -> None:
        _, self.channels, height, width = images.shape
        self.ball = ball
        self.side = self._side(share, height, width)
        numbers = randomness.uniform(seeds, (count, 2 * self.positions + 1 + self.channels)).transpose(0, 1)
        rows, columns = numbers[..., : self.positions], numbers[..., self.positions : 2 * self.positions]
        self.rows, self.columns = _whole(rows, height - self.side + 1), _whole(columns, width - self.side + 1)
        self.corners = self.rows * width + self.columns  # (count, N, positions)
        self.coins = (numbers[..., 2 * self.positions :] < 0.5).long()  # (count, N, 1 + C)
        self.line = torch.arange(self.side, device=images.device)
        channel = torch.arange(self.channels, device=images.device)[:, None, None]
        self.grid = ((channel * height + self.line[:, None]) * width + self.line).flatten()  # (C * side * side,)

    @classmethod
    def _side(cls, share: float, height: int, width: int) -> int:
        return min(max(round(math.sqrt(share * height * width)), cls.smallest_side), height, width)

    @staticmethod
    @abstractmethod
    def start(ball: Ball, seeds: Tensor) -> Tensor:
        """The first images, before the projection."""

    @abstractmethod
    def propose(self, pixels: Tensor, query: int) -> Edits:
        """What to change in the images, (N, C * H * W), at the ``query``-th query of the block."""

    def settle(self, better: Tensor) -> None:  # noqa: B027 - most have nothing
        """Take note of which samples kept the last proposal, bool (N,)."""

    def _places(self, query: int, position: int) -> Tensor:
        return self.corners[query, :, position, None] + self.grid


class LinfProposals(Proposals):
    """Algorithm 2: a square moves to the corner of the ball, with one random sign a channel."""

    def __init__(self, ball: Ball, images: Tensor, share: float, seeds: Tensor, count: int) -> None:
        super().__init__(ball, images, share, seeds, count)
        ones = torch.ones_like(images)
        self.extremes = torch.cat([ball.extreme(-ones).flatten(1), ball.extreme(ones).flatten(1)], 1)

    @staticmethod
    def start(ball: Ball, seeds: Tensor) -> Tensor:
        """Vertical stripes."""
        channels, _, width = ball.center.shape[1:]
        signs = (randomness.uniform(seeds, (channels, 1, width)) < 0.5).float() * 2 - 1
        return ball.center + ball.eps * signs

    def propose(self, pixels: Tensor, query: int) -> Edits:
        """One square, to the ball's upper or lower corner."""
        places = self._places(query, 0)
        upper = self.coins[query, :, 1:] * pixels.shape[1]
        values = self.extremes.gather(1, places + upper.repeat_interleave(self.side**2, 1))
        return [(places, values)]


class L2Proposals(Proposals):
    """Algorithm 3: a window takes over the change of another, which goes back to the original, and what is left of eps.

    Its new content is a mixture of the old one and of two opposite bumps (equation 2), with one random sign a channel.
    """

    smallest_side = 3
    positions = 2
    order = 2
    decay = 2  # of the bumps

    def __init__(self, ball: Ball, images: Tensor, share: float, seeds: Tensor, count: int) -> None:
        super().__init__(ball, images, share, seeds, count)
        self.center = ball.center.flatten(1)
        self.budget = ball.eps.flatten() ** self.order
        self.spent = self._size((images - ball.center).flatten(1))
        bumps = _bumps(self.side, self.order, self.decay).to(images.device)
        self.shapes = torch.stack([bumps, bumps.T]).flatten(1)  # upright, or lying
        self.change = torch.zeros_like(self.spent)

    @classmethod
    def _side(cls, share: float, height: int, width: int) -> int:
        side = super()._side(share, height, width)
        return min(side + 1 - side % 2, height, width)

    @classmethod
    def start(cls, ball: Ball, seeds: Tensor) -> Tensor:
        """A grid of such bumps, five along the shorter side, of length eps."""
        n, channels, height, width = ball.center.shape
        side = max(min(height, width) // 5, 1)
        rows, columns = height // side, width // side
        draws = randomness.uniform(seeds, (channels + 1, rows, columns)) < 0.5
        bumps = _bumps(side, cls.order, cls.decay).to(seeds.device)
        shapes = torch.where(draws[:, :1, :, None, :, None], bumps[:, None], bumps.T[:, None])
        tiles = shapes * (draws[:, 1:, :, None, :, None].float() * 2 - 1)  # (N, C, rows, side, columns, side)
        delta = torch.zeros_like(ball.center)
        top, left = (height - rows * side) // 2, (width - columns * side) // 2
        delta[:, :, top : top + rows * side, left : left + columns * side] = tiles.reshape(
            n, channels, rows * side, columns * side
        )
        return ball.center + delta * (ball.eps / column(ball.length(delta)))

    def propose(self, pixels: Tensor, query: int) -> Edits:
        """The second window empty, then the first with all that it takes over."""
        places, other_places = self._places(query, 0), self._places(query, 1)
        center, other_center = self.center.gather(1, places), self.center.gather(1, other_places)
        delta = self._by_channel(pixels.gather(1, places) - center)
        other = self._by_channel(pixels.gather(1, other_places) - other_center) * self._is_apart(query)
        own_size = self._size(delta)
        size = own_size + self._size(other)
        left = (self.budget - self.spent).clamp_min(0)
        shape = self.shapes[self.coins[query, :, 0]][:, None] * (self.coins[query, :, 1:, None] * 2 - 1)
        shape = shape + delta / self._root(own_size)[..., None].clamp_min(1e-12)
        length = self._root(size + left[:, None] / self.channels) / self._root(self._size(shape)).clamp_min(1e-12)
        change = self._fitted((shape * length[..., None]).flatten(1), center, size.sum(1) + left)
        values = (center + change).clamp_(*self.ball.bounds)
        self.change = self._size(values - center) - size.sum(1)
        return [(other_places, other_center), (places, values)]

    def settle(self, better: Tensor) -> None:
        """Keep account of eps."""
        self.spent += self.change * better

    def _fitted(self, change: Tensor, center: Tensor, size: Tensor) -> Tensor:  # noqa: ARG002
        """A window's new change before it is cut to the bounds, given what it may add up to, (N,)."""
        return change

    def _is_apart(self, query: int) -> Tensor:
        """Which pixels of the second window are not in the first as well, (N, 1, side * side)."""
        down = self.line + (self.rows[query, :, 1] - self.rows[query, :, 0])[:, None]
        across = self.line + (self.columns[query, :, 1] - self.columns[query, :, 0])[:, None]
        is_apart_down, is_apart_across = (down < 0) | (down >= self.side), (across < 0) | (across >= self.side)
        return (is_apart_down[:, :, None] | is_apart_across[:, None]).flatten(1)[:, None]

    def _by_channel(self, values: Tensor) -> Tensor:
        return values.view(len(values), self.channels, -1)

    def _size(self, delta: Tensor) -> Tensor:
        """The norm to the power of its order, over the last dimension."""
        return delta.square().sum(-1) if self.order == 2 else delta.abs().sum(-1)

    def _root(self, size: Tensor) -> Tensor:
        return size.sqrt() if self.order == 2 else size


class L1Proposals(L2Proposals):
    """The same in l1 (Croce and Hein 2021, appendix), with sharper bumps, and changes that are sparse.

    Deviation: theirs makes the window's change larger by the number of channels, and projects the whole image into ball
    and bounds, which leaves few values, many at a bound. Here the largest values of the window's change go to their
    bounds until its share of eps is spent. That touches no other pixel, and is as strong (see the tests).
    """

    order = 1
    decay = 4

    def _fitted(self, change: Tensor, center: Tensor, size: Tensor) -> Tensor:
        low, high = self.ball.bounds
        sign = change.sign()
        room = torch.maximum(sign * (low - center), sign * (high - center))
        place = change.abs().sort(dim=1, descending=True, stable=True).indices
        room = room.gather(1, place)
        share = torch.minimum((size[:, None] - (room.cumsum(1) - room)).clamp_min_(0), room)
        return torch.zeros_like(change).scatter_(1, place, share).mul_(sign)


PROPOSALS: dict[Norm, type[Proposals]] = {"linf": LinfProposals, "l2": L2Proposals, "l1": L1Proposals}


def _whole(numbers: Tensor, below: int) -> Tensor:
    """Whole numbers below ``below`` from numbers in [0, 1), whose product may be rounded up to it."""
    return (numbers * below).long().clamp_(max=below - 1)


def _bumps(side: int, order: int, decay: int) -> Tensor:
    """A bump up above a bump down, of norm 1, shape (side, side): equation 2 of the paper."""
    parts = [_bump(side // 2, side, order, decay), -_bump(side - side // 2, side, order, decay)]
    return _normed(torch.cat(parts[side == 1 :]), order)


def _bump(height: int, width: int, order: int, decay: int) -> Tensor:
    """Highest in the middle: at distance d (of rows or columns, the larger) the sum over k > d of 1 / k^decay."""
    distance = torch.maximum(
        (torch.arange(height) - height // 2).abs()[:, None], (torch.arange(width) - width // 2).abs()
    )
    steps = torch.arange(1, max(height, width) // 2 + 2) ** -float(decay)
    bump = steps.flip(0).cumsum(0).flip(0)[distance]
    return _normed(bump, order)


def _normed(values: Tensor, order: int) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(values, ord=order)
    return values / length
