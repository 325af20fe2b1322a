"""The model as an attack sees it: logits and input gradients, every pass counted, nothing left changed."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robustaug.attacks.goal import Goal
from robustaug.attacks.graph import agrees, converted, retold, weight_as
from robustaug.attacks.pieces import pieces_of
from robustaug.errors import RobustAugError
from robustaug.hardware import autocast, exact_float32, is_out_of_memory

_FEW = 4  # images that show what the model returns, and whether it repeats itself
# A model whose logits for the same images differ by more than this share of their size is randomised.
_REPEATS = 1e-4


class Evaluation(NamedTuple):
    """A loss and its gradient at some images, all float32 and without a graph.

    Attributes:
        gradient: of each sample's loss with respect to its image, (N, C, H, W).
        losses: (N,).
        logits: (N, K).
    """

    gradient: Tensor
    losses: Tensor
    logits: Tensor


@dataclass
class Oracle:
    """Answers an attack's questions about a model.

    Attributes:
        model: From images (N, C, H, W) to logits (N, K).
        dtype: What convolutions and matrix products run in while an attack searches; verdicts are float32.
        eot_samples: Evaluations of a randomised model behind each gradient: expectation over transformation
            (Athalye, Engstrom, Ilyas and Kwok 2018).
        compiled: Search through ``torch.compile``; verdicts do not.
        room: Images that a search may send through the model at once; where fewer stand, it may work on several
            targets of each.
        forward_passes: Images sent through the model so far.
        backward_passes: Images whose gradient was taken so far.
    """

    model: nn.Module
    dtype: torch.dtype = torch.float32
    eot_samples: int = 1
    compiled: bool = False
    room: int = 1
    forward_passes: int = 0
    backward_passes: int = 0
    _finite: list[Tensor] = field(default_factory=list)
    _probed: tuple[Tensor, Tensor] | None = None
    _is_randomised: bool | None = None

    def __post_init__(self) -> None:
        self._search_model: Callable[[Tensor], Tensor] = self.model
        self._fine_model: Callable[[Tensor], Tensor] = self.model
        if self.compiled:
            self._search_model = torch.compile(self.model, dynamic=True)
        elif self._converts:
            self._search_model = _converted(self.model, self.dtype)

    @property
    def _converts(self) -> bool:
        return self.dtype != torch.float32 and not self.compiled and not isinstance(self.model, torch.jit.ScriptModule)

    def logits(self, images: Tensor) -> Tensor:
        """Float32 logits, shape (N, K), without a graph: what verdicts are read from.

        Raises:
            RobustAugError: the output is not (N, K) or not finite.
        """
        return self._float32_logits(self.model, images)

    def fine_logits(self, images: Tensor) -> Tensor:
        """Float32 logits, shape (N, K), without a graph, for a search whose steps are finer than its precision.

        Its batch norms may be folded: no verdict is read from these.
        """
        return self._float32_logits(self._fine_model, images.contiguous(memory_format=torch.channels_last))

    def _float32_logits(self, model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        self.forward_passes += len(images)
        pieces = pieces_of(images, torch.float32)
        with torch.no_grad(), _no_autocast(images.device):
            parts = [model(part) for part in pieces]
        for part, logits in zip(pieces, parts, strict=True):
            check_logits(logits, len(part))
        return torch.cat(parts)[: len(images)].float()

    def search_logits(self, images: Tensor) -> Tensor:
        """Logits as float32, shape (N, K), computed in the search's precision, without a graph and without checks."""
        self.forward_passes += len(images)
        with torch.no_grad(), autocast(self.dtype, images.device):
            parts = [self._search_model(self._arranged(part)) for part in pieces_of(images, self.dtype)]
        return torch.cat(parts)[: len(images)].float()

    def gradient(self, images: Tensor, loss: Callable[[Tensor], Tensor]) -> Evaluation:
        """A loss of the logits, and its gradient with respect to the images alone.

        The losses are summed, not averaged, so that a sample's gradient does not depend on its batch.

        Args:
            images: shape (N, C, H, W).
            loss: from logits (N, K) to one value a sample, (N,).
        """
        total = self._one_gradient(images, loss)
        for _ in range(1, self.eot_samples):
            more = self._one_gradient(images, loss)
            total = Evaluation(*(a + b for a, b in zip(total, more, strict=True)))
        if self.eot_samples > 1:
            total = Evaluation(*(value / self.eot_samples for value in total))
        self._finite.append(total.gradient.sum().isfinite())  # read once at the end: no host synchronisation in a step
        return total

    def _one_gradient(self, images: Tensor, loss: Callable[[Tensor], Tensor]) -> Evaluation:
        n = len(images)
        self.forward_passes += n
        self.backward_passes += n
        points = [self._arranged(part).detach() for part in pieces_of(images, self.dtype)]
        with torch.enable_grad():
            with autocast(self.dtype, images.device):
                parts = [self._search_model(point.requires_grad_()) for point in points]
            logits = torch.cat(parts)[:n].float()
            losses = loss(logits)
            total = losses.sum()
        try:
            gradients = torch.autograd.grad(total, points)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise RobustAugError(
                f"the model gives no gradient with respect to its input ({str(error).splitlines()[0]}); "
                "gradient attacks need a model that is differentiable from the images on"
            ) from error
        gradient = torch.cat(gradients)[:n].float().contiguous()
        return Evaluation(gradient, losses.detach(), logits.detach())

    def _arranged(self, images: Tensor) -> Tensor:
        """Channels last where matrix units want it."""
        if self.dtype == torch.float32:
            return images
        return images.contiguous(memory_format=torch.channels_last)

    def confirm(self, images: Tensor, goal: Goal, suspects: Tensor) -> Tensor:
        """Which of the suspected rows (bool, (N,)) meet the goal in float32 as well, bool (N,)."""
        confirmed = suspects.clone()
        if suspects.any():
            confirmed[suspects] = goal[suspects].is_met(self.logits(images[suspects]).argmax(1))
        return confirmed

    def probe(self, images: Tensor) -> int:
        """The number of classes, from a few of the images; keeps them for ``is_randomised``.

        The model is in eval mode here, so that searches in bfloat16 may take it as a graph, with batch norms folded.

        Raises:
            RobustAugError: the outputs are no logits.
        """
        few = images[:_FEW]
        logits = self._unpadded_logits(self.model, few)
        self._probed = few, logits
        graph = retold(self.model) if self._converts else None
        if graph is not None and agrees(self._unpadded_logits(graph, few), logits):
            self._fine_model, self._search_model = converted(graph, torch.float32), converted(graph, self.dtype)
        return logits.shape[1]

    def _unpadded_logits(self, model: nn.Module, images: Tensor) -> Tensor:
        self.forward_passes += len(images)
        with torch.no_grad(), _no_autocast(images.device):
            logits: Tensor = model(images)
        check_logits(logits, len(images))
        return logits.float()

    @property
    def is_randomised(self) -> bool:
        """Whether the model gave two answers for the images that ``probe`` saw."""
        if self._is_randomised is None:
            if self._probed is None:
                return False
            images, first = self._probed
            difference = (self._unpadded_logits(self.model, images) - first).abs().amax()
            self._is_randomised = bool(difference > _REPEATS * first.abs().amax())
        return self._is_randomised

    @property
    def is_exact(self) -> bool:
        """Whether the search computes as the verdict does."""
        return self.dtype == torch.float32 and not self.compiled

    def exactly(self) -> "Oracle":
        """The same model, searched in plain float32; counts passes from 0."""
        return Oracle(
            self.model,
            eot_samples=self.eot_samples,
            room=self.room,
            _probed=self._probed,
            _is_randomised=self._is_randomised,
        )

    def fitting(self, runs: int, standing: int) -> int:
        """How many of so many runs there is room for at once, with so many samples each; at least one."""
        return min(runs, max(1, self.room // standing))

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


def _converted(model: nn.Module, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The model with the weights that autocast would convert at every call converted once.

    Only those of plain layers: a subclass may compute with its weights first.
    """
    weights = {
        f"{prefix}{'.' if prefix else ''}{name}": weight_as(value, dtype)
        for prefix, module in model.named_modules()
        if type(module) in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
        for name, value in module.named_parameters(recurse=False)
    }
    return lambda images: torch.func.functional_call(model, weights, (images,))


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
def undisturbed(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """Put the model into eval mode for the block; afterwards everything is as before, also after an exception.

    Per-module train and eval modes are restored one by one (a model may hold frozen batch-norm layers in eval mode
    inside a training model), and so is the global random state, which a randomised model would move; in the block it
    starts from ``seed``, so that such a model repeats. Parameters and their gradients are never touched: gradients are
    taken with respect to the images alone. That parameters ask for none in the block keeps what their gradients would
    need from being stored, and from being computed where the search is compiled.
    """
    modes = [(module, module.training) for module in model.modules()]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.is_leaf]
    devices = sorted({tensor.device for tensor in model.parameters() if tensor.device.type == "cuda"}, key=str)
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), exact_float32():
        torch.default_generator.manual_seed(seed)
        for device in devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        try:
            for module, _ in modes:
                module.training = False
            for parameter in trained:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)
            for module, mode in modes:
                module.training = mode


def _no_autocast(device: torch.device) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, enabled=False)
