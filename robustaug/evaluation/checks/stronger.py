"""Checks that attack a few samples again: would more effort, a larger radius or blind search change the number?

Every attack here is small, seeded by the samples' keys, and made from the evaluation's own search: PGD,
or Auto-PGD in l1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import APGD, PGD, Attack, AttackResult, Square, ThreatModel
from robustaug.attacks.attack import GradientAttack
from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle, undisturbed
from robustaug.data.imageset import ImageSet
from robustaug.evaluation.bench import model_device
from robustaug.evaluation.checks.check import Check
from robustaug.evaluation.search import Search, larger, longer
from robustaug.evaluation.statistics import accuracy_interval

LONGER_SAMPLES = 48  # survivors that are attacked with twice the steps
TRACED_SAMPLES = 32  # survivors whose loss is followed step by step
LARGER_SAMPLES = 16  # broken samples that are attacked at twice the radius
SQUARE_SAMPLES = 32  # survivors that Square tries
SQUARE_QUERIES = 100

_MOVES = 0.02  # of the accuracy: so much less is another number
_STARTS = 5  # of PGD on what was broken without its gradients
_RISING = 0.1  # of the whole rise of the margin, in the last quarter of the steps


def more_effort_changes_little(
    arm: str | None, model: nn.Module, survivors: ImageSet, share: float, pgd: Search
) -> Check:
    """Twice the steps from another start must not break many of the samples that survive.

    It fails where the accuracy would fall by more than 2 points, even by the low end of the 95% interval.

    Args:
        arm: for the row.
        model: from images to logits.
        survivors: samples that survive the evaluation's attacks.
        share: of the attacked samples that survive.
        pgd: the evaluation's.
    """
    name = "twice the steps and another start change little"
    survivors = survivors.first(LONGER_SAMPLES)
    if len(survivors) == 0:
        return Check(name, arm, True, "no sample survives")
    result = _attacked(longer(pgd), model, survivors, "longer")
    broken, tried = int(result.success.sum()), len(survivors)
    points = 100 * share * broken / tried
    detail = f"{broken} of {tried} survivors broken, which would take {points:.1f} points off the accuracy"
    return Check(name, arm, share * accuracy_interval(result.success).low <= _MOVES, detail)


def loss_has_settled(arm: str | None, model: nn.Module, survivors: ImageSet, pgd: Search) -> Check:
    """PGD's last quarter of steps must add at most a tenth of what all steps add to the margin of surviving samples.

    The margin, largest other logit minus the label's, and not the loss that PGD climbs: broken samples aside, both rise
    together, and a margin does not flatten where float32 ends.

    Args:
        arm: for the row.
        model: from images to logits.
        survivors: samples that survive the evaluation's attacks.
        pgd: the evaluation's.
    """
    name = "the loss has stopped rising at the last step"
    survivors = survivors.first(TRACED_SAMPLES)
    if len(survivors) == 0:
        return Check(name, arm, True, "no sample survives")
    traced = (_TracedPGD if isinstance(pgd, PGD) else _TracedAPGD)(**vars(pgd))
    images = _attacked(traced, model, survivors, "traced").images
    with undisturbed(model):
        last = Goal(survivors.labels.to(images.device)).margin(Oracle(model).logits(images))
    # A float32 search that follows a bfloat16 one would come behind the first steps.
    looks = traced.margins[: pgd.steps if isinstance(pgd, PGD) else pgd.steps + 3]  # Auto-PGD's, also at three starts
    margins = torch.stack([*(margin.double().mean() for margin in looks), last.double().mean()])
    rise, end = float(margins[-1] - margins[0]), float(margins[-1] - margins[-1 - max(1, pgd.steps // 4)])
    share = end / rise if rise > 0 else 0.0  # none at all is the business of other checks
    detail = (
        f"{share:.1%} of the margin's rise is in the last quarter of {pgd.steps} steps ({len(survivors)} survivors)"
    )
    return Check(name, arm, share <= _RISING, detail)


def larger_eps_not_weaker(arm: str | None, model: nn.Module, broken: ImageSet, pgd: Search) -> Check:
    """What breaks inside a ball breaks inside one twice as large, up to one sample or a fifth; else PGD loses its way.

    The curve of accuracy against eps cannot show this: there a broken sample stays broken.

    Args:
        arm: for the row.
        model: from images to logits.
        broken: samples that the evaluation's PGD broke.
        pgd: the evaluation's.
    """
    name = "what breaks at eps breaks at twice eps"
    broken = broken.first(LARGER_SAMPLES)
    if len(broken) == 0:
        return Check(name, arm, True, "no sample was broken")
    wide = larger(pgd)
    standing = int((~_attacked(wide, model, broken, "larger").success).sum())
    detail = f"{standing} of {len(broken)} broken samples stand at eps {wide.threat.eps:.4g}"
    return Check(name, arm, standing <= max(1, len(broken) // 5), detail)


def square_not_stronger(
    arm: str | None, model: nn.Module, broken: ImageSet, tried: int, queries: int, pgd: Search
) -> Check:
    """Square, which sees no gradients, must break no survivor that PGD cannot reach; else the gradients are masked.

    Args:
        arm: for the row.
        model: from images to logits.
        broken: samples that survive the evaluation's gradient attacks, and that Square broke.
        tried: how many such samples Square tried.
        queries: how many each.
        pgd: the evaluation's.
    """
    name = "Square breaks no sample that gradient attacks cannot"
    detail = f"{len(broken)} of {tried} survivors broken by Square with {queries:,} queries"
    return _reached(Check(name, arm, True, detail), model, broken, pgd)


def transfer_not_stronger(
    arm: str | None, model: nn.Module, broken: ImageSet, tried: int, surrogates: Sequence[str], pgd: Search
) -> Check:
    """Images made on another classifier must break no survivor that PGD cannot reach; else the gradients are masked.

    Args:
        arm: for the row.
        model: from images to logits.
        broken: samples that survive the evaluation's gradient attacks, and that such an image broke.
        tried: how many samples were tried.
        surrogates: the classifiers whose images broke them.
        pgd: the evaluation's.
    """
    name = "a transferred attack breaks no sample that gradient attacks cannot"
    detail = f"{len(broken)} of {tried} samples broken only by images made on {' and '.join(surrogates) or 'others'}"
    return _reached(Check(name, arm, True, detail), model, broken, pgd)


def _reached(check: Check, model: nn.Module, broken: ImageSet, pgd: Search) -> Check:
    """The check, failed if PGD does not reach all samples that an attack without this model's gradients broke.

    PGD attacks them once more, with twice the steps, five starts and the margin for its loss. A sample that it breaks
    then was out of its steps and not out of its sight: how many there are is asked by ``more_effort_changes_little``.
    """
    if len(broken) == 0:
        return check
    harder = longer(pgd, restarts=_STARTS, loss="margin")
    unreached = int((~_attacked(harder, model, broken, "harder").success).sum())
    return replace(check, passed=unreached == 0, detail=f"{check.detail}, {unreached} of them out of PGD's reach")


def broken_by_square(model: nn.Module, survivors: ImageSet, threat: ThreatModel) -> tuple[ImageSet, int]:
    """The survivors that a short Square attack breaks, and how many it tried."""
    survivors = survivors.first(SQUARE_SAMPLES)
    square = Square(threat, queries=SQUARE_QUERIES, rescale_schedule=True)
    broken = _attacked(square, model, survivors, "square").success
    return survivors.select(broken.cpu().nonzero().squeeze(1)), len(survivors)


class _Traced(GradientAttack):
    """Writes down the margins, shape (N,), of each image that a search looks at."""

    margins: list[Tensor]

    def _loss(self, goal: Goal) -> Callable[[Tensor], Tensor]:
        climbed = super()._loss(goal)

        def written_down(logits: Tensor) -> Tensor:
            self.margins.append(goal.margin(logits.detach()))
            return climbed(logits)

        return written_down


@dataclass(frozen=True)
class _TracedPGD(_Traced, PGD):
    margins: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class _TracedAPGD(_Traced, APGD):
    margins: list[Tensor] = field(default_factory=list)


def _attacked(attack: Attack, model: nn.Module, samples: ImageSet, purpose: str) -> AttackResult:
    device = model_device(model)
    seeds = randomness.sample_seeds(0, samples.keys, f"check {purpose}").to(device)
    return attack(model, samples.float_images(device), samples.labels.to(device), seeds=seeds)
