"""The model as an attack sees it: logits and input gradients, every pass counted, nothing left changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustaug.errors import RobustAugError
from robustaug.hardware import autocast, exact_float32

# Below some rows, matrix libraries choose other kernels, which sum in another order. With at least this many, a
# sample's result does not depend on its batch (measured with oneDNN and MKL; see docs/attacks.md).
SMALLEST_BATCH = 16


@dataclass
class Oracle:
    """Answers an attack's questions about a model.

    Attributes:
        model: From images (N, C, H, W) to logits (N, K).
        dtype: What convolutions and matrix products run in while gradients are sought; verdicts are float32.
        forward_passes: Images sent through the model so far.
        backward_passes: Images whose gradient was taken so far.
    """

    model: nn.Module
    dtype: torch.dtype = torch.float32
    forward_passes: int = 0
    backward_passes: int = 0
    _finite: list[Tensor] = field(default_factory=list)

    def logits(self, images: Tensor) -> Tensor:
        """Float32 logits, shape (N, K), without a graph.

        Raises:
            RobustAugError: the output is not (N, K) or not finite.
        """
        self.forward_passes += len(images)
        with torch.no_grad():
            padded = _padded(images)
            logits: Tensor = self.model(padded)
        check_logits(logits, len(padded))
        return logits[: len(images)].float()

    def loss_gradient(self, images: Tensor, labels: Tensor) -> Tensor:
        """Gradient of each sample's cross-entropy towards ``labels`` with respect to its image, shape (N, C, H, W).

        The losses are summed, not averaged, so that a sample's gradient does not depend on its batch.
        """
        n = len(images)
        self.forward_passes += n
        self.backward_passes += n
        point, labels = _differentiable(_padded(images).detach()), _differentiable(_padded(labels))
        point.requires_grad_()
        with torch.enable_grad(), autocast(self.dtype, images.device):
            logits = self.model(point)
            loss = F.cross_entropy(logits.float(), labels, reduction="sum")
        try:
            (gradient,) = torch.autograd.grad(loss, point)
        except RuntimeError as error:
            raise RobustAugError(
                f"the model gives no gradient with respect to its input ({str(error).splitlines()[0]}); "
                "gradient attacks need a model that is differentiable from the images on"
            ) from error
        gradient = gradient[:n].float()
        self._finite.append(gradient.sum().isfinite())  # read once at the end: no host synchronisation in a step
        return gradient

    def check_finite(self) -> None:
        """Raise if any gradient so far was not finite.

        Raises:
            RobustAugError: names the first step with such a gradient.
        """
        if self._finite:
            finite = torch.stack(self._finite)
            if not finite.all():
                step = int((~finite).nonzero()[0]) + 1
                raise RobustAugError(
                    f"the loss gradient is NaN or infinite at step {step} of the attack; check the model's weights and "
                    "its outputs on these images"
                )


def check_logits(logits: Tensor, n: int) -> None:
    """Refuse outputs that are no logits of ``n`` images.

    Raises:
        RobustAugError: not a float tensor (N, K) with K at least 2, or not finite.
    """
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != n or logits.shape[1] < 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise RobustAugError(
            f"the model returned {shape} for {n} images; it must return logits of shape ({n}, classes)"
        )
    if not logits.isfinite().all():
        row = int((~logits.isfinite().all(1)).nonzero()[0])
        raise RobustAugError(f"the model's logits are NaN or infinite for image {row} of the batch; check its weights")


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put the model into eval mode for the block; afterwards everything is as before, also after an exception.

    Per-module train and eval modes are restored one by one (a model may hold frozen batch-norm layers in eval mode
    inside a training model), and so is the global random state, which a randomised model would move. Parameters,
    their gradients and requires_grad flags are never touched: gradients are taken with respect to the images alone.
    """
    modes = [(module, module.training) for module in model.modules()]
    devices = {tensor.device for tensor in model.parameters() if tensor.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices, key=str)), torch.inference_mode(False), exact_float32():
        try:
            for module, _ in modes:
                module.training = False
            yield
        finally:
            for module, mode in modes:
                module.training = mode


def _padded(rows: Tensor) -> Tensor:
    missing = SMALLEST_BATCH - len(rows)
    if missing <= 0 or rows.device.type != "cpu":
        return rows
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])


def _differentiable(tensor: Tensor) -> Tensor:
    """Autograd refuses tensors that were made in inference mode, but not their copies."""
    return tensor.clone() if tensor.is_inference() else tensor
