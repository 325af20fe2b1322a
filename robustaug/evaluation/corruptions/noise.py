"""Noise of each value on its own: Gaussian, shot, impulse (Hendrycks and Dietterich 2019, section 3)."""

import torch
from torch import Tensor

from robustaug import randomness


def gaussian_noise(images: Tensor, seeds: Tensor, deviation: float) -> Tensor:
    """Low light: normal noise of this standard deviation."""
    return images + deviation * randomness.normal(seeds, images.shape[1:])


def shot_noise(images: Tensor, seeds: Tensor, photons: float) -> Tensor:
    """Photons are counted: each value becomes a Poisson number of mean ``photons * value``, divided by ``photons``.

    The numbers are the quantiles of uniform ones, from one table of the 256 distributions that 8-bit values have (the
    authors corrupt 8-bit images; a value between two levels takes the nearer one's).
    """
    device = images.device
    levels = (images * 255).round().long()
    counts = torch.arange(int(photons + 12 * photons**0.5) + 12, device=device, dtype=torch.float64)
    rates = torch.arange(256, device=device, dtype=torch.float64)[:, None] / 255 * photons
    chances = torch.exp(torch.xlogy(counts, rates) - rates - torch.lgamma(counts + 1))
    # Row after row ascends by one, so that one search in all of them finds a value's place in its own row.
    table = torch.arange(256, device=device)[:, None] + chances.cumsum(1).clamp_max(1)
    wanted = (levels + randomness.uniform(seeds, images.shape[1:]).double()).contiguous()
    drawn = torch.searchsorted(table.flatten(), wanted, right=True) - levels * len(counts)
    return (drawn / photons).float()


def impulse_noise(images: Tensor, seeds: Tensor, amount: float) -> Tensor:
    """Bit errors: this share of the values becomes 0 or 1, as often the one as the other."""
    chance = randomness.uniform(seeds, images.shape[1:])
    return torch.where(chance < amount, (chance < amount / 2).float(), images)
