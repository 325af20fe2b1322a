"""The learning rate over a run: closed forms of the share of the steps done."""

import math
from collections.abc import Sequence
from typing import Literal

from robustaug.errors import RobustAugError

Schedule = Literal["one_cycle", "cosine", "step"]
PAPERS_DROPS = (0.5, 0.75)  # Rice, Wong and Kolter (2020), and Wu, Xia and Wang (2020): epochs 100 and 150 of 200
_DROP = 0.1


def rate_at(schedule: Schedule, peak: float, progress: float, warmup: float, drops: Sequence[float]) -> float:
    """The learning rate of a step.

    - ``one_cycle``, after Smith and Topin (2018): up in a straight line until ``warmup``, then down to 0. Deviation:
      down along a cosine, where the paper has a straight line.
    - ``cosine`` (Loshchilov and Hutter 2017, equation 5, without restarts): peak (1 + cos(pi progress)) / 2.
    - ``step``: the peak, times 0.1 after each of ``drops``.

    The last two are multiplied by progress / warmup until that is 1 (Goyal et al. 2017, section 2.2). A run's last step
    has the rate 0 in the first two, as good as in torch's ``OneCycleLR``, whose last is the peak / 250,000.

    Args:
        schedule: Which.
        peak: The highest rate.
        progress: Share of the steps done, this one among them: larger than 0, at most 1.
        warmup: Share of the steps in which the rate rises, 0 to 1.
        drops: Shares of the steps.
    """
    if schedule == "one_cycle":
        if progress < warmup:
            return peak * progress / warmup
        rest = (progress - warmup) / max(1 - warmup, 1e-9)
        return peak * (1 + math.cos(math.pi * min(rest, 1.0))) / 2
    ramp = progress / warmup if progress < warmup else 1.0
    if schedule == "cosine":
        return peak * ramp * (1 + math.cos(math.pi * progress)) / 2
    return float(peak * ramp * _DROP ** sum(progress > drop for drop in drops))


def check_drops(schedule: Schedule, drops: Sequence[float]) -> None:
    """Refuse drops that are no shares of the steps, or that the schedule has no use for.

    Raises:
        RobustAugError: they are.
    """
    if list(drops) != sorted(set(drops)) or not all(0 < drop < 1 for drop in drops):
        raise RobustAugError(f"training.drops is {drops}; they are shares of the steps, ascending, between 0 and 1")
    if schedule != "step" and tuple(drops) != PAPERS_DROPS:
        raise RobustAugError(
            f"training.drops belongs to the schedule step, not to {schedule}; remove it, or set training.schedule"
        )
