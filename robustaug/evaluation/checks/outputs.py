"""Checks of what a model returns: logits, the same ones each time, whatever stands beside an image in its batch."""

import torch
from torch import Tensor, nn

from robustaug.attacks.oracle import Oracle, undisturbed
from robustaug.evaluation.checks.check import Check

_SINGLE_SAMPLES = 8  # of the images, those that are also sent alone


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


def _same_outputs(name: str, arm: str | None, a: Tensor, b: Tensor) -> Check:
    difference = float((a - b).abs().max())
    scale = max(1.0, float(a.abs().max()))
    # Kernels sum in another order for another batch size: a few units in the last place of float32.
    return Check(name, arm, difference <= 1e-4 * scale, f"largest difference of a logit {difference:.2g}")
