"""A model as Foolbox sees it, and what keeps Foolbox from leaving traces."""

import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustaug.attacks.goal import Goal
from robustaug.attacks.oracle import Oracle
from robustaug.attacks.pieces import padded
from robustaug.errors import RobustAugError


@cache
def load_foolbox() -> Any:
    """Foolbox, loaded when first needed: that takes half a second.

    Raises:
        RobustAugError: it does not load.
    """
    key = "GIT_PYTHON_REFRESH"  # Foolbox loads GitPython, which by default refuses to load without a git program
    before = os.environ.get(key)
    os.environ[key] = before or "quiet"
    try:
        with warnings.catch_warnings(action="ignore"):  # an old import of SciPy's
            import foolbox  # noqa: PLC0415
    except ImportError as error:
        raise RobustAugError(f"Foolbox does not load ({error}); pip install 'foolbox>=3.3.4'") from error
    finally:
        if before is None:
            del os.environ[key]
    return foolbox


def foolbox_criterion(goal: Goal) -> Any:
    """What Foolbox calls a goal."""
    criteria = load_foolbox().criteria
    if goal.targets is None:
        return criteria.Misclassification(goal.labels)
    return criteria.TargetedMisclassification(goal.targets)


class FoolboxView(nn.Module):
    """The model of an oracle for images in [0, 1], every pass counted, differentiable in the images alone.

    HopSkipJump and GenAttack cut images to [0, 1], and the step sizes of others are meant for it: so Foolbox works in
    that range, whatever the bounds.

    Attributes:
        failure: The last error that came from the model and not from Foolbox.
    """

    def __init__(self, oracle: Oracle, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.oracle = oracle  # not a module: through this one, Foolbox cannot move the model or change its mode
        self.low, self.width = bounds[0], bounds[1] - bounds[0]
        self.failure: Exception | None = None
        self.eval()

    def to_unit(self, images: Tensor) -> Tensor:
        """From the bounds to [0, 1]; exact where they are the same."""
        return ((images - self.low) / self.width).clamp_(0, 1)

    def from_unit(self, images: Tensor) -> Tensor:
        """From [0, 1] to the bounds; exact where they are the same."""
        return images * self.width + self.low

    def forward(self, images: Tensor) -> Tensor:
        """Float32 logits, shape (N, K), of images in [0, 1], shape (N, C, H, W)."""
        logits: Tensor = _ImageGradient.apply(self.from_unit(images), self)
        return logits


class _ImageGradient(torch.autograd.Function):
    """The model's logits, cut off from its parameters: Foolbox's ``backward()`` would fill their gradients."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, view: FoolboxView) -> Tensor:
        view.oracle.forward_passes += len(images)
        ctx.view = view
        wanted = ctx.needs_input_grad[0]
        with _noted(view), torch.set_grad_enabled(wanted):
            ctx.images = images.detach().requires_grad_(wanted)
            ctx.logits = view.oracle.model(padded(ctx.images))[: len(images)].float()
            _check_finite("logits are", ctx.logits, images)
        logits: Tensor = ctx.logits.detach()
        return logits

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        ctx.view.oracle.backward_passes += len(upstream)
        with _noted(ctx.view):
            (gradient,) = torch.autograd.grad(ctx.logits, ctx.images, upstream)
            _check_finite("gradient is", gradient, ctx.images, upstream)
        return gradient, None


@contextmanager
def contained(model: nn.Module, seed: int, device: torch.device) -> Iterator[None]:
    """Foolbox draws from the random states of torch, NumPy and Python: seeded here, and restored afterwards.

    So is the mode of each module. Warnings are muted: what Foolbox warns of (samples without a starting point, means of
    nothing) the result says as well.
    """
    modes = [(module, module.training) for module in model.modules()]
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002 - Foolbox draws from it
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.inference_mode(False),  # which also switches gradients on
        torch.autocast(device.type, enabled=False),
        warnings.catch_warnings(action="ignore"),
    ):
        torch.default_generator.manual_seed(seed)
        for cuda in devices:
            with torch.cuda.device(cuda):
                torch.cuda.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
            for module, mode in modes:
                module.training = mode


def are_finite(values: Tensor) -> Tensor:
    """Which rows hold neither NaN nor infinity, bool (N,)."""
    return values.isfinite().flatten(1).all(1)


@contextmanager
def _noted(view: FoolboxView) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        view.failure = error
        raise


def _check_finite(what: str, values: Tensor, *causes: Tensor) -> None:
    """Refuse values that are not finite though their causes are: Foolbox would hang, or leave the sample standing."""
    if values.isfinite().all():
        return
    bad = ~are_finite(values)
    for cause in causes:
        bad &= are_finite(cause)
    if bad.any():
        raise RobustAugError(
            f"the model's {what} NaN or infinite for an image that a Foolbox attack tried; check the model's weights"
        )
