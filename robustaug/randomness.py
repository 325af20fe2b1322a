"""Random numbers that belong to a sample, not to a batch.

Every random choice derives from (seed, sample key, variant number, purpose), so a result does not depend on batch size,
order, worker count or an interruption. The numbers are SplitMix64 (Steele, Lea and Flood 2014) evaluated at a counter,
in integer arithmetic: the same on every device.
"""

import hashlib
import math
from collections.abc import Iterable

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX2 = 0x94D049BB133111EB - (1 << 64)


def derive_seed(*parts: str | int | float) -> int:
    """A 63-bit seed from any parts, for example ``derive_seed(seed, key, variant, "start")``."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def sample_seeds(seed: int, keys: Iterable[str], purpose: str, variant: int = 0) -> Tensor:
    """Per-sample seeds, int64 of shape (N,), from the samples' keys."""
    return torch.tensor([derive_seed(seed, key, variant, purpose) for key in keys], dtype=torch.int64)


def fold(seeds: Tensor, number: int) -> Tensor:
    """New per-sample seeds for the ``number``-th use (a restart, say) of the given ones."""
    offset = derive_seed("fold", number)
    return _mix(seeds ^ offset)


def uniform(seeds: Tensor, shape: Iterable[int]) -> Tensor:
    """Float32 numbers uniform in [0, 1), shape (N, *shape): row i depends on ``seeds[i]`` alone."""
    shape = tuple(shape)
    counter = torch.arange(1, math.prod(shape) + 1, device=seeds.device, dtype=torch.int64) * _GOLDEN
    bits = _mix(seeds[:, None] + counter)
    return _shift_right(bits, 40).to(torch.float32).mul_(2.0**-24).view(len(seeds), *shape)


def normal(seeds: Tensor, shape: Iterable[int]) -> Tensor:
    """Standard normal float32 numbers, shape (N, *shape), by the Box-Muller transform of ``uniform``."""
    shape = tuple(shape)
    u = uniform(fold(seeds, 0), shape)
    v = uniform(fold(seeds, 1), shape)
    return torch.sqrt(-2 * torch.log1p(-u)) * torch.cos(2 * math.pi * v)


def permutation(n: int, *parts: str | int | float) -> Tensor:
    """A random order of ``range(n)`` that depends on ``parts`` alone; the global random state is not touched."""
    generator = torch.Generator().manual_seed(derive_seed(*parts))
    return torch.randperm(n, generator=generator)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)  # logical shift: int64's own is arithmetic


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MIX1
    x = (x ^ _shift_right(x, 27)) * _MIX2
    return x ^ _shift_right(x, 31)
