"""Checks on what an evaluation recorded: verdicts sample by sample, distances, the curve. They cost nothing."""

from itertools import pairwise

import torch
from torch import Tensor

from robustaug.evaluation.checks.check import Check
from robustaug.evaluation.results import CurvePoint
from robustaug.evaluation.statistics import accuracy_interval


def iterative_not_weaker(arm: str | None, fgsm: Tensor, pgd: Tensor) -> Check:
    """PGD contains FGSM's search, so it must break about as many samples or more; else its gradients mislead it.

    Args:
        arm: for the row.
        fgsm: bool (A,), whether each sample is correct under FGSM.
        pgd: bool (A,), the same under PGD.
    """
    tolerance = max(1, len(pgd) // 100)  # one step of full length can be lucky on a sample
    passed = int(pgd.sum()) <= int(fgsm.sum()) + tolerance
    detail = (
        f"accuracy {_percent(pgd)} under PGD, {_percent(fgsm)} under FGSM (tolerance {tolerance} of {len(pgd)} samples)"
    )
    return Check("PGD is at least as strong as FGSM", arm, passed, detail)


def noise_not_stronger(arm: str | None, noise: Tensor, pgd: Tensor) -> Check:
    """A sample that random noise of the same size breaks must not survive PGD.

    Args:
        arm: for the row.
        noise: bool (A,), whether each sample is correct under noise.
        pgd: bool (A,), the same under PGD.
    """
    missed = int((pgd & ~noise).sum())
    return Check(
        "noise breaks no sample that survives PGD",
        arm,
        missed == 0,
        f"{missed} of {len(pgd)} samples broken by noise only",
    )


def curve_falls_to_chance(arm: str | None, curve: tuple[CurvePoint, ...], chance: float) -> Check:
    """Accuracy must never rise with eps, and a large enough eps breaks every classifier; else gradients are masked."""
    values = [point.accuracy.value for point in curve]
    rises = [b.eps for a, b in pairwise(curve) if b.accuracy.value > a.accuracy.value]
    last = f"accuracy {values[-1]:.1%} at eps {curve[-1].eps:.4g}, chance is {chance:.1%}"
    detail = f"rises at eps {rises[0]:.4g}" if rises else last
    return Check("accuracy falls to chance as eps grows", arm, not rises and values[-1] <= chance, detail)


def inside_ball(arm: str | None, excess: Tensor, scale: float = 1.0) -> Check:
    """Adversarial images must be inside their ball and the bounds, to float32 rounding.

    Args:
        arm: for the row.
        excess: float (A,), what each image is beyond them.
        scale: the largest of 1, eps and the width of the bounds: 1e-6 of it is allowed.
    """
    outside = int((~(excess <= 1e-6 * scale)).sum())  # also counts NaN
    detail = f"{outside} of {len(excess)} images outside, largest excess {float(excess.max()):.2g}"
    return Check("adversarial images are inside the ball and the bounds", arm, outside == 0, detail)


def survives_rounding(arm: str | None, broken: Tensor, correct_8bit: Tensor) -> Check:
    """At least nine in ten successes must survive the rounding to 8 bits that any image file brings.

    It fails where the 95% interval of the share lies below that.

    Args:
        arm: for the row.
        broken: bool (A,), samples that the attack broke.
        correct_8bit: bool (A,), whether each sample is correct after rounding.
    """
    n, kept = int(broken.sum()), int((broken & ~correct_8bit).sum())
    name = "success survives rounding to 8 bits"
    if n == 0:
        return Check(name, arm, True, "no success to round")
    remaining = accuracy_interval(~correct_8bit[broken])
    return Check(name, arm, remaining.high >= 0.9, f"{kept} of {n} successes ({kept / n:.1%}) remain")


def _percent(correct: Tensor) -> str:
    return f"{correct.to(torch.float64).mean().item():.1%}"
