"""Exact Euclidean and minimal-norm projections that respect the image bounds, without sorting where it can be had.

Every solution here is a clipped straight line in one multiplier, which is found by Newton's method on its monotone
piecewise linear equation: a few passes over the values where a sort costs as much as a small network. All functions
are row by row: a row's result does not depend on the rows beside it.
"""

import torch
from torch import Tensor

from robustaug.attacks.threat import Norm

# Newton steps between two looks at whether all rows have converged: on a GPU each look makes the host wait.
_STEPS_BETWEEN_LOOKS = 4
# Far more than any case needs.
_MOST_STEPS = 128
_TOLERANCE = 1e-6  # relative, of the equation that a multiplier solves
_FEW = 64  # values looked at first when the largest are wanted; then 16 times as many, and so on


def onto_l1_ball_in_box(delta: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The nearest perturbations, in Euclidean distance, within the l1 ball and the box at once.

    Croce and Hein 2021 ("Mind the box"): z_i = sign(u_i) * clip(|u_i| - t, 0, room_i), where t >= 0 is 0
    if that is inside the ball, or else gives an l1 norm of eps. They find t by sorting; here it is found by Newton's
    method kept inside a bracket.

    Args:
        delta: Perturbations u, float32 (N, C, H, W).
        eps: Radii, at least 0, shape (N, 1, 1, 1).
        low: Smallest allowed value of each perturbation, at most 0, of a shape that broadcasts to ``delta``'s.
        high: Largest allowed value, at least 0.

    Returns:
        Shape (N, C, H, W): in the box exactly, in the ball up to the rounding of float32. Each value is exact to the
        rounding of the largest in ``delta``.
    """
    sign = delta.sign()
    # The room on the side that u points to. (torch.where is ten times as slow on a CPU.)
    room = torch.maximum(sign * low, sign * high).flatten(1)
    size, radius = delta.abs().flatten(1), eps.flatten(1)
    nearest = torch.minimum((size - _shrinkage(size, room, radius)).clamp_min_(0), room)
    norm = nearest.sum(1, keepdim=True)
    nearest *= torch.where(norm > radius, radius / norm, 1)  # takes off what rounding left: a factor next to 1
    return nearest.view_as(delta) * sign


def _shrinkage(size: Tensor, room: Tensor, radius: Tensor) -> Tensor:
    """The t of ``onto_l1_ball_in_box``, shape (N, 1).

    The norm falls with t, but is neither convex nor concave, so that Newton's steps alone may run astray. Where a step
    leaves the bracket, the bracket is halved instead: in the order of float32 numbers, in which at most 31 halvings
    close it, whatever the scale of the values.
    """
    below, above = torch.zeros_like(radius), size.amax(1, keepdim=True)
    amount = torch.where(radius > 0, below, above)
    done = radius <= 0
    left, work = torch.empty_like(size), torch.empty_like(size)
    for step in range(_MOST_STEPS):
        torch.sub(size, amount, out=left)
        free = torch.gt(left, 0, out=work).sum(1, keepdim=True)
        free -= torch.gt(left, room, out=work).sum(1, keepdim=True)
        excess = torch.minimum(left.clamp_min_(0), room, out=work).sum(1, keepdim=True) - radius
        below, above = torch.where(excess > 0, amount, below), torch.where(excess > 0, above, amount)
        newton = amount + excess / free
        first, last = below.view(torch.int32), above.view(torch.int32)
        # Inside the ball from the start; or on the sphere; or what is left is lost in the multiplier's rounding.
        done |= (above <= 0) | (excess.abs() <= _TOLERANCE * radius)
        done |= ((newton - amount).abs() <= 2e-7 * amount) | (last - first <= 1)
        middle = (first + (last - first) // 2).view(torch.float32)
        good = (newton > below) & (newton < above)
        amount = torch.where(done, amount, torch.where(good, newton, middle))
        if _is_time_to_look(step, done.device) and done.all():
            break
    return amount


def onto_hyperplane_in_box(
    norm: Norm, points: Tensor, normal: Tensor, gap: Tensor, bounds: tuple[float, float]
) -> Tensor:
    """The smallest steps d with normal . d = gap that stay within the bounds.

    Croce and Hein 2020 ("Minimally distorted adversarial examples with a fast adaptive boundary attack"). Where the
    hyperplane does not meet the box, d leads to the box point closest to the hyperplane.

    Deviation: the hyperplane is given by the gap, offset - normal . point, and not by its offset: the difference of two
    long sums would lose the digits of a small gap.

    Args:
        norm: What is small: the ``"linf"``, ``"l2"`` or ``"l1"`` norm of d.
        points: Where the steps start, within the bounds, float32 (N, D).
        normal: Normal vectors, float32 (N, D). Where all of one is zero, d is 0.
        gap: How much normal . point is to grow, of either sign, shape (N,).
        bounds: Smallest and largest value of a point.

    Returns:
        The steps d, shape (N, D). Points + d lies within the bounds up to rounding.
    """
    direction = normal.sign() * gap.sign().unsqueeze(1)
    # Room is 0 where the normal is. (torch.where is ten times as slow on a CPU.)
    room = (bounds[1] - points).mul_(direction)
    torch.maximum(room, (bounds[0] - points).mul_(direction), out=room)
    weight = normal.abs()
    scale = weight.amax(1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
    weight /= scale  # the square of a tiny normal would be 0 in float32
    wanted = gap.abs().unsqueeze(1) / scale
    if norm == "l1":
        length = _largest_first(weight, room, wanted)
    else:
        length = _stretched(weight, room, wanted, squared=norm == "l2")
    return length.mul_(direction)


def _is_time_to_look(step: int, device: torch.device) -> bool:
    """On a CPU always; elsewhere to look is to wait for the device."""
    return device.type == "cpu" or step % _STEPS_BETWEEN_LOOKS == _STEPS_BETWEEN_LOOKS - 1


def _stretched(weight: Tensor, room: Tensor, wanted: Tensor, *, squared: bool) -> Tensor:
    """The lengths min(t, room), or for l2 min(t * weight, room), whose weighted sum is as wanted, shape (N, D).

    The sum is concave and grows with t, so that Newton's method from t = 0 comes to the solution from below and ends
    in finitely many steps.
    """
    slope = weight * weight if squared else weight
    length = torch.empty_like(weight)
    done = wanted >= (weight * room).sum(1, keepdim=True)  # not even the whole room is too much
    t = torch.where(done, torch.finfo(weight.dtype).max, torch.zeros_like(wanted))
    for step in range(_MOST_STEPS):
        line = weight * t if squared else t
        missing = wanted - torch.minimum(room, line, out=length).mul_(weight).sum(1, keepdim=True)
        steepness = torch.gt(room, line, out=length).mul_(slope).sum(1, keepdim=True)
        done = done | (missing <= _TOLERANCE * wanted) | (steepness <= 0)
        t = torch.where(done, t, t + missing / steepness)
        if _is_time_to_look(step, done.device) and done.all():
            break
    return torch.minimum(room, weight * t if squared else t, out=length)


def _largest_first(weight: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """The lengths that give the wanted weighted sum with the least l1 norm: full where the weight is largest."""
    few = min(_FEW, weight.shape[1])
    length, enough = _largest_few_first(weight, room, wanted, few)
    while few < weight.shape[1] and not enough.all():
        few = min(16 * few, weight.shape[1])
        rows = (~enough).squeeze(1).nonzero().squeeze(1)
        length[rows], enough[rows] = _largest_few_first(weight[rows], room[rows], wanted[rows], few)
    return length


def _largest_few_first(weight: Tensor, room: Tensor, wanted: Tensor, few: int) -> tuple[Tensor, Tensor]:
    largest, order = weight.topk(few, dim=1)
    space = room.gather(1, order)
    filled = (largest * space).cumsum(1)
    before = torch.cat([torch.zeros_like(wanted), filled[:, :-1]], 1)
    share = (wanted - before).clamp_min_(0) / largest.clamp_min(torch.finfo(weight.dtype).tiny)
    length = torch.zeros_like(room).scatter_(1, order, torch.minimum(share, space))
    return length, filled[:, -1:] >= wanted
