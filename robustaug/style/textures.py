"""Textures as styles, drawn from a seed: noise, stripes, checks, dots, cells and marble in two or three colours.

Every pattern is a function on the unit square that goes on across its borders, so that no edge of the picture becomes
part of the style. Everything is computed in float64 and rounded to 8 bits at the end: the bytes, and with them the
SHA-256 that a job records, are the same wherever sines are correct to nearly all their digits.
"""

import colorsys
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.randomness import derive_seed, uniform

SIDE = 256
_OVERSAMPLING = 2  # drawn at twice the size and averaged, so that edges are smooth

# Uniform numbers in [0, 1), as many as asked for: those of one texture.
Draw = Callable[[int], list[float]]


def textures(count: int, seed: int = 0) -> list[tuple[str, Tensor]]:
    """``count`` textures, the kinds in turn; of one seed, fewer are the first of more.

    Returns:
        Names such as ``0003_dots`` and images, uint8 (3, 256, 256).

    Raises:
        RobustAugError: ``count`` is below 1 or above 10,000.
    """
    if not 1 <= count <= 10_000:
        raise RobustAugError(f"cannot draw {count} textures; take 1 to 10000")
    kinds = list(KINDS.items())
    made = []
    for number in range(count):
        name, pattern = kinds[number % len(kinds)]
        made.append((f"{number:04}_{name}", _texture(pattern, derive_seed(seed, "texture", number))))
    return made


def _texture(pattern: Callable[[Tensor, Tensor, Draw], Tensor], seed: int) -> Tensor:
    draws = _draws(seed)
    line = (torch.arange(SIDE * _OVERSAMPLING, dtype=torch.float64) + 0.5) / (SIDE * _OVERSAMPLING)
    colours = torch.tensor(_palette(draws), dtype=torch.float64)
    image = colours[pattern(line[None, :], line[:, None], draws).clamp(0, len(colours) - 1)].permute(2, 0, 1)
    return F.avg_pool2d(image[None], _OVERSAMPLING)[0].mul(255).round().to(torch.uint8)


def _draws(seed: int) -> Draw:
    numbers: Iterator[float] = iter(uniform(torch.tensor([seed]), (1024,))[0].tolist())
    return lambda count: [next(numbers) for _ in range(count)]


def _palette(draw: Draw) -> list[tuple[float, float, float]]:
    """Two or three colours in random order: hues far apart, one dark, one light, and one between."""
    three, hue, *rest = draw(8)
    lightness = [0.15 + 0.2 * rest[0], 0.7 + 0.2 * rest[1], 0.42 + 0.14 * rest[2]][: 3 if three < 0.6 else 2]
    apart = 1 / len(lightness)
    colours = [
        colorsys.hls_to_rgb((hue + i * apart + 0.12 * rest[3]) % 1, value, 0.55 + 0.4 * rest[4])
        for i, value in enumerate(lightness)
    ]
    turn = int(rest[5] * len(colours))
    return colours[turn:] + colours[:turn]


# Each pattern takes coordinates in [0, 1), float64, x of shape (1, W) and y of (H, 1), and gives a colour's number,
# int64 (H, W): 0, 1 or 2; a texture of two colours takes 1 for 2.


def _noise(x: Tensor, y: Tensor, draw: Draw) -> Tensor:
    """Band-limited noise, cut into levels."""
    low = 3 + 12 * draw(1)[0]
    return _levels(_waves(x, y, draw, low, 1.8 * low))


def _stripes(x: Tensor, y: Tensor, draw: Draw) -> Tensor:
    """Straight or wavy stripes in any direction; whole numbers of waves, so that the borders meet."""
    across, down, wave, bend, share = draw(5)
    bands = 4 + 12 * across
    angle = math.pi * down
    a, b = round(bands * math.cos(angle)), round(bands * math.sin(angle))
    along = torch.sin(2 * math.pi * ((1 + int(3 * wave)) * (x if abs(b) > abs(a) else y)))
    phase = (a * x + b * y + 0.5 * bend * along) % 1
    return (phase > 0.3 + 0.2 * share).long() + (phase > 0.8)


def _checks(x: Tensor, y: Tensor, draw: Draw) -> Tensor:
    """A chessboard, straight or as diamonds, or a tartan where one direction has stripes of its own."""
    number, diamond, tartan = draw(3)
    n = 2 * (3 + int(6 * number))
    u, v = (x + y, x - y) if diamond < 0.4 else (x, y)
    board = ((u * n).floor() + (v * n).floor()).long() % 2
    line = (v * n % 1 - 0.5).abs() < 0.14
    return torch.where(line, torch.full_like(board, 2), board) if tartan < 0.6 else board


def _dots(x: Tensor, y: Tensor, draw: Draw) -> Tensor:
    """Discs or rings on a grid, every second row shifted by half a step."""
    number, size, ring, shifted = draw(4)
    n = 2 * (3 + int(6 * number))
    row = (y * n).floor()
    u = (x * n + (0.5 * (row % 2) if shifted < 0.7 else 0)) % 1 - 0.5
    v = y * n % 1 - 0.5
    radius, largest = (u.square() + v.square()).sqrt(), 0.26 + 0.18 * size
    inner = 0.45 if ring < 0.6 else 0.0
    return (radius < largest).long() + (radius < inner * largest)


def _cells(x: Tensor, y: Tensor, draw: Draw) -> Tensor:
    """Cells around random points (Worley, "A Cellular Texture Basis Function", 1996), in two colours with seams."""
    n = 12 + int(50 * draw(1)[0])
    points = torch.tensor(draw(2 * n), dtype=torch.float64).view(n, 2)
    squares = [((x - px + 0.5) % 1 - 0.5).square() + ((y - py + 0.5) % 1 - 0.5).square() for px, py in points.tolist()]
    nearest, cell = torch.stack(squares).topk(2, dim=0, largest=False)
    seam = nearest[1].sqrt() - nearest[0].sqrt() < 0.12 / math.sqrt(n)
    return torch.where(seam, torch.zeros_like(cell[0]), 1 + cell[0] % 2)


def _marble(x: Tensor, y: Tensor, draw: Draw) -> Tensor:
    """Bands distorted by turbulence (Perlin, "An Image Synthesizer", 1985, section on marble)."""
    bands, turn = 2 + int(4 * draw(1)[0]), draw(1)[0]
    across = x if turn < 0.5 else y
    turbulence = sum((_waves(x, y, draw, f, 2 * f) / f for f in (2.0, 4.0, 8.0, 16.0)), torch.zeros_like(x))
    return _levels(torch.sin(2 * math.pi * (bands * across + 0.5 * turbulence)))


KINDS: dict[str, Callable[[Tensor, Tensor, Draw], Tensor]] = {
    "noise": _noise,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "cells": _cells,
    "marble": _marble,
}


def _waves(x: Tensor, y: Tensor, draw: Draw, low: float, high: float, count: int = 32) -> Tensor:
    """A sum of cosines of whole wave numbers between ``low`` and ``high`` in all directions, of variance 1."""
    draws = torch.tensor(draw(3 * count), dtype=torch.float64).view(count, 3)
    size, turn = low + (high - low) * draws[:, 0], 2 * math.pi * draws[:, 1]
    a, b = (size * turn.cos()).round(), (size * turn.sin()).round()
    u, v = 2 * math.pi * (y * b + draws[:, 2]), 2 * math.pi * (a[:, None] * x)  # (H, count), (count, W)
    # The cosine of a sum: two products of matrices in place of as many cosines as there are waves and pixels.
    return (u.cos() @ v.cos() - u.sin() @ v.sin()) / math.sqrt(count / 2)


def _levels(values: Tensor) -> Tensor:
    """Values of about [-1, 1] as three levels of about equal shares."""
    return (values > -0.45).long() + (values > 0.45)
