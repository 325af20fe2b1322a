"""Signs that a robustness number cannot be trusted (Carlini et al. 2019, "On Evaluating Adversarial Robustness").

Each check is a small function with one question; ``check_arm`` asks all of one classifier, ``check_splits`` of data.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustaug.attacks.oracle import Oracle, undisturbed
from robustaug.data.imageset import ImageSet
from robustaug.evaluation.bench import model_device
from robustaug.evaluation.results import ArmEvaluation, CurvePoint
from robustaug.files import sha256

_LIVE_SAMPLES = 64  # images for the checks that run the model again
_SINGLE_SAMPLES = 8  # of them, those that are also sent alone


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    Attributes:
        name: what was asked, in words.
        arm: the classifier it was asked of; None for all.
        passed: whether the answer speaks for the numbers.
        detail: the evidence in one line.
    """

    name: str
    arm: str | None
    passed: bool
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """``{"name", "arm", "passed", "detail"}``, as reports have it."""
        return asdict(self)


def check_arm(arm: str, model: nn.Module, test: ImageSet, evaluation: ArmEvaluation) -> list[Check]:
    """All checks of one classifier: those on the recorded evaluation, then those that run the model again.

    Args:
        arm: its name, for the rows.
        model: the classifier; left as it was.
        test: the test split of the evaluation.
        evaluation: what ``evaluate_arm`` returned.
    """
    verdicts = evaluation.verdicts
    samples = test.select(evaluation.attacked[:_LIVE_SAMPLES])
    device = model_device(model)
    images, labels = samples.float_images(device), samples.labels.to(device)
    right = verdicts["clean"][evaluation.attacked]
    return [
        iterative_not_weaker(arm, verdicts["fgsm"], verdicts["pgd"]),
        noise_not_stronger(arm, verdicts["noise"], verdicts["pgd"]),
        curve_falls_to_chance(arm, evaluation.eps_curve, evaluation.chance),
        inside_ball(arm, evaluation.pgd_excess, _scale(evaluation.attacks["pgd"])),
        survives_rounding(arm, right & ~verdicts["pgd"], verdicts["pgd_8bit"]),
        outputs_are_logits(arm, model, images),
        independent_of_batch(arm, model, images),
        repeatable(arm, model, images),
        gradients_not_zero(arm, model, images, labels),
    ]


def check_splits(train: ImageSet, test: ImageSet) -> list[Check]:
    """All checks of the data."""
    return [no_test_image_in_training(set(pixel_hashes(train)), test)]


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

    Args:
        arm: for the row.
        broken: bool (A,), samples that the attack broke.
        correct_8bit: bool (A,), whether each sample is correct after rounding.
    """
    n, kept = int(broken.sum()), int((broken & ~correct_8bit).sum())
    detail = f"{kept} of {n} successes ({kept / n:.1%}) remain" if n else "no success to round"
    return Check("success survives rounding to 8 bits", arm, kept >= 0.9 * n, detail)


def outputs_are_logits(arm: str | None, model: nn.Module, images: Tensor) -> Check:
    """Probabilities in place of logits flatten the loss: gradients vanish and the model looks robust."""
    with undisturbed(model):
        outputs = Oracle(model).logits(images)
    in_range = ((outputs >= -1e-4) & (outputs <= 1 + 1e-4)).all(1)
    looks_like = in_range & ((outputs.sum(1) - 1).abs() < 1e-3)
    share = looks_like.float().mean().item()
    detail = f"{share:.0%} of the outputs lie in [0, 1] and sum to 1"
    if share == 1:
        detail += "; remove the model's last softmax"
    return Check("the model returns logits, not probabilities", arm, share < 1, detail)


def independent_of_batch(arm: str | None, model: nn.Module, images: Tensor) -> Check:
    """A sample alone must get the outputs that it gets in a batch; else batch statistics leak between samples."""
    name = "predictions do not depend on the batch"
    with undisturbed(model), torch.no_grad():
        together: Tensor = model(images)[:_SINGLE_SAMPLES]
        try:
            alone = torch.cat([model(image[None]) for image in images[:_SINGLE_SAMPLES]])
        except (RuntimeError, ValueError) as error:  # batch norm over a single value, say
            return Check(name, arm, False, f"fails on a single image: {' '.join(str(error).split())[:150]}")
    return _same_outputs(name, arm, together, alone)


def repeatable(arm: str | None, model: nn.Module, images: Tensor) -> Check:
    """The same images must get the same outputs twice; a randomised model needs attacks that average over it."""
    with undisturbed(model), torch.no_grad():
        first, second = model(images), model(images)
    return _same_outputs("predictions are repeatable", arm, first, second)


def gradients_not_zero(arm: str | None, model: nn.Module, images: Tensor, labels: Tensor) -> Check:
    """Gradient attacks are blind where the loss has no gradient, or one that is not finite; at most 1% may be so."""
    with undisturbed(model):
        loss = partial(F.cross_entropy, target=labels, reduction="none")
        gradient = Oracle(model).gradient(images, loss).gradient.flatten(1)
    broken = int((~gradient.isfinite()).any(1).sum())
    zero = int((gradient == 0).all(1).sum())
    detail = f"{zero} of {len(images)} samples with a zero gradient, {broken} with NaN or infinite values"
    return Check("input gradients are informative", arm, broken == 0 and zero <= 0.01 * len(images), detail)


def no_test_image_in_training(known: Collection[str], test: ImageSet) -> Check:
    """No test image may be, pixel for pixel, a training image.

    Args:
        known: ``pixel_hashes`` of the training images.
        test: what is measured on.
    """
    shared = [key for key, digest in zip(test.keys, pixel_hashes(test), strict=True) if digest in known]
    detail = f"{len(shared)} of {len(test)} test images" + (f", for example {shared[0]}" if shared else "")
    return Check("no test image is a training image", None, not shared, detail)


def pixel_hashes(images: ImageSet) -> list[str]:
    """The first 48 bits of the SHA-256 of each image's pixels, in hexadecimal: short enough to keep in a checkpoint."""
    return [sha256(image.numpy().tobytes())[:12] for image in images.images]


def _same_outputs(name: str, arm: str | None, a: Tensor, b: Tensor) -> Check:
    difference = float((a - b).abs().max())
    scale = max(1.0, float(a.abs().max()))
    # Kernels sum in another order for another batch size: a few units in the last place of float32.
    return Check(name, arm, difference <= 1e-4 * scale, f"largest difference of a logit {difference:.2g}")


def _scale(attack: Mapping[str, Any]) -> float:
    low, high = attack["bounds"]
    return float(max(1.0, attack["eps"], high - low))


def _percent(correct: Tensor) -> str:
    return f"{correct.float().mean().item():.1%}"
