"""What every attack is: a frozen description, called with a model, images and labels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robustaug.attacks.ball import Ball
from robustaug.attacks.goal import Goal
from robustaug.attacks.losses import LOSSES, LossName
from robustaug.attacks.oracle import Oracle, undisturbed
from robustaug.attacks.threat import Norm, ThreatModel
from robustaug.errors import RobustAugError
from robustaug.hardware import Precision, in_fitting_batches, resolve_precision

BatchSize = int | Literal["auto"] | None
# Share of the logits' spread within which a bfloat16 search and a float32 search may end on different sides. For linf,
# over 1,000 images of an adversarially trained PreActResNet-18: standard deviation 0.001, largest 0.0103. For l1, which
# values a step changes is a choice that a rounding error can turn: there it is 0.1 on a small network.
_CLOSE: dict[Norm, float] = {"linf": 0.02, "l2": 0.02, "l1": 0.3}


@dataclass(frozen=True)
class AttackResult:
    """What an attack found, one entry for each image given.

    Attributes:
        images: The adversarial images, float32 (N, C, H, W), inside ball and bounds, never NaN.
        success: Whether the model is wrong on the returned image (targeted: predicts the target), bool (N,), checked
            again in float32 and eval mode. An image that the model got wrong from the start counts as broken.
        predictions: Predicted class of the returned image, int64 (N,).
        distance: Distance from the original in the threat model's norm, float32 (N,).
        forward_passes: Images sent through the model in total.
        backward_passes: Images whose gradient was taken in total.
    """

    images: Tensor
    success: Tensor
    predictions: Tensor
    distance: Tensor
    forward_passes: int
    backward_passes: int


@dataclass(frozen=True)
class Attack(ABC):
    """Base of all attacks: a frozen description without state.

    Attributes:
        threat: What the attacker may do.
        precision: Of convolutions and matrix products while the attack searches: ``"float32"``, ``"bfloat16"`` or
            ``"auto"`` (bfloat16, with channels last, where the hardware has matrix units for it). The verdict is always
            float32, and samples that bfloat16 left standing by a small margin are attacked once more in float32.
    """

    threat: ThreatModel
    precision: Precision = "float32"

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        targets: Tensor | None = None,
        generator: torch.Generator | None = None,
        seeds: Tensor | None = None,
        batch_size: BatchSize = None,
    ) -> AttackResult:
        """Attack the model in eval mode and check the result again.

        Args:
            model: From images to logits; normalisation inside. It is left exactly as it was, also after an exception:
                its parameters, gradients, requires_grad flags, train and eval modes, and the global random state.
            images: Float32, shape (N, C, H, W), within the threat model's bounds.
            labels: True classes, int64 (N,).
            targets: For a targeted attack, the wanted classes, int64 (N,), none equal to its label.
            generator: Draws ``seeds`` where they are not given; without both, calls repeat.
            seeds: One int64 seed per sample (``randomness.sample_seeds``): the result for a sample then depends on
                its seed and not on the batch around it.
            batch_size: Images attacked at a time: a number, None for all at once, or ``"auto"``: all at once, and half
                as many whenever memory runs out.

        Raises:
            RobustAugError: images, labels, targets or model outputs break their contract, or are not finite.
        """
        self._check(model, images, labels, targets)
        n = len(images)
        if n == 0:
            empty = torch.zeros(0, device=images.device)
            return AttackResult(images.clone(), empty.bool(), empty.long(), empty, 0, 0)
        with self._prepared(model, images, labels, targets, generator, seeds) as (oracle, ball, goal, drawn):

            def attacked(rows: slice) -> tuple[Tensor, ...]:
                oracle.room = rows.stop - rows.start
                found = self._search_and_finish(oracle, ball[rows], goal[rows], drawn[rows])
                oracle.check_finite()
                return found

            adversarial, predictions = in_batches(attacked, n, batch_size)
        return AttackResult(
            images=adversarial,
            success=goal.is_met(predictions),
            predictions=predictions,
            distance=ball.distance(adversarial),
            forward_passes=oracle.forward_passes,
            backward_passes=oracle.backward_passes,
        )

    def perturb(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        targets: Tensor | None = None,
        seeds: Tensor | None = None,
    ) -> Tensor:
        """The bare algorithm, for a training loop: as ``__call__``, without checks, verdict or change of mode."""
        ball, goal = Ball.around(_usable(images), self.threat), _goal(labels, targets)
        return self._search(self._oracle(model, images), ball, goal, _seeds(images, None, seeds))

    @contextmanager
    def _prepared(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        targets: Tensor | None,
        generator: torch.Generator | None,
        seeds: Tensor | None,
    ) -> Iterator[tuple[Oracle, Ball, Goal, Tensor]]:
        """Oracle, balls, goals and seeds of all images; the model is in eval mode in the block, and as it was after."""
        seeds = _seeds(images, generator, seeds)
        oracle = self._oracle(model, images)
        with undisturbed(model, model_seed(seeds)):
            ball, goal = Ball.around(_usable(images), self.threat), _goal(labels, targets)
            _check_classes(oracle.probe(images), goal)
            yield oracle, ball, goal, seeds

    @abstractmethod
    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        """Find adversarial images inside the ball, shape (N, C, H, W)."""

    def _oracle(self, model: nn.Module, images: Tensor) -> Oracle:
        return Oracle(model, resolve_precision(self.precision, images.device))

    def _search_and_finish(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Adversarial images and the predictions for them in float32."""
        images = self._search(oracle, ball, goal, seeds)
        logits = oracle.logits(images)
        if not oracle.is_exact and not oracle.is_randomised:
            close = is_too_close_to_call(logits, goal, self.threat.norm)
            if close.any():
                exact = oracle.exactly()
                again = self._search(exact, ball[close], goal[close], seeds[close])
                new_logits = exact.logits(again)
                worse = goal[close].margin(new_logits) > goal[close].margin(logits[close])
                rows = close.nonzero().squeeze(1)[worse]
                images[rows], logits[rows] = again[worse], new_logits[worse]
                exact.check_finite()
                oracle.forward_passes += exact.forward_passes
                oracle.backward_passes += exact.backward_passes
        return images, logits.argmax(1)

    def parameters(self) -> dict[str, Any]:
        """Name and every parameter as plain values, for reports and manifests."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "threat"}
        threat = {"norm": self.threat.norm, "eps": self.threat.eps, "bounds": list(self.threat.bounds)}
        return {"attack": type(self).__name__, **threat, **own}

    def _check(self, model: nn.Module, images: Tensor, labels: Tensor, targets: Tensor | None) -> None:
        _check_tensors(images=images, labels=labels)
        if not images.is_floating_point():
            raise RobustAugError(
                f"images are {images.dtype}; convert them to float32 in [0, 1], for example with x / 255"
            )
        if images.dim() != 4:
            raise RobustAugError(f"images have shape {tuple(images.shape)}; it must be (N, C, H, W)")
        if images.dtype != torch.float32:
            raise RobustAugError(f"images are {images.dtype}; attacks work on float32, so call .float() on them")
        low, high = self.threat.bounds
        if len(images) and not ((images >= low) & (images <= high)).all():  # NaN fails as well
            raise RobustAugError(
                f"image values span [{images.min():g}, {images.max():g}], outside the bounds [{low:g}, {high:g}]; "
                "scale them into the bounds (normalisation belongs inside the model) or set ThreatModel(bounds=...)"
            )
        for name, classes in (("labels", labels), ("targets", targets)):
            if classes is None:
                continue
            if classes.dtype != torch.int64:
                raise RobustAugError(f"{name} are {classes.dtype}; they must be int64 class numbers")
            if classes.shape != (len(images),):
                raise RobustAugError(
                    f"{name} have shape {tuple(classes.shape)}; it must be ({len(images)},), one per image"
                )
            if classes.device != images.device:
                raise RobustAugError(
                    f"{name} are on {classes.device} and the images on {images.device}; move one of them"
                )
        if targets is not None and (targets == labels).any():
            row = int((targets == labels).nonzero()[0])
            raise RobustAugError(f"the target of image {row} is its own label {int(labels[row])}; choose another class")
        parameter = next(model.parameters(), None)
        if parameter is not None and parameter.device != images.device:
            raise RobustAugError(
                f"the model is on {parameter.device} and the images on {images.device}; move one of them"
            )


@dataclass(frozen=True)
class GradientAttack(Attack):
    """Base of the attacks that climb a loss.

    Attributes:
        loss: What they climb: ``"cross_entropy"``, ``"margin"`` (Carlini and Wagner 2017) or ``"dlr"`` (Croce and Hein
            2020b).
        eot_samples: Evaluations of the model averaged for each gradient, for randomised models (Athalye et al. 2018).
        compiled: Search through ``torch.compile``: the first call takes half a minute or more, later ones are faster
            where many small layers cost more than their arithmetic.

    Raises:
        RobustAugError: an unknown loss, or eot_samples below 1.
    """

    loss: LossName = "cross_entropy"
    eot_samples: int = 1
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise RobustAugError(f"loss {self.loss!r} is unknown; use one of {', '.join(LOSSES)}")
        check_count("eot_samples", self.eot_samples)

    def _oracle(self, model: nn.Module, images: Tensor) -> Oracle:
        return Oracle(model, resolve_precision(self.precision, images.device), self.eot_samples, self.compiled)

    def _loss(self, goal: Goal) -> Callable[[Tensor], Tensor]:
        return lambda logits: LOSSES[self.loss](logits, goal)


def in_batches(
    work: Callable[[slice], tuple[Tensor, ...]], n: int, batch_size: BatchSize, largest: int | None = None
) -> tuple[Tensor, ...]:
    """Do ``work`` on the rows 0 to n in batches, and join what it returns.

    A batch has as many rows as its slice is long; the last has fewer. Without a number, batches are as large as
    ``largest``, or else n.

    Raises:
        RobustAugError: the batch size is neither a number from 1 up, nor None or ``"auto"``; or with ``"auto"`` memory
            runs out for a single image.
    """
    if batch_size == "auto":
        parts = in_fitting_batches(work, n, largest or n)
    else:
        if batch_size is not None:
            check_count("batch_size", batch_size)
        size = batch_size or largest or max(1, n)
        parts = [work(slice(start, start + size)) for start in range(0, n, size)]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def is_surely_met(logits: Tensor, goal: Goal, oracle: Oracle) -> Tensor:
    """Samples that a search has broken by more than its precision may be wrong, bool (N,)."""
    return goal.margin(logits) > (0 if oracle.is_exact else _doubt(logits, "linf"))


def is_too_close_to_call(logits: Tensor, goal: Goal, norm: Norm) -> Tensor:
    """Samples left standing by less than bfloat16 can tell, bool (N,)."""
    margin = goal.margin(logits)
    return (margin <= 0) & (margin > -_doubt(logits, norm))


def _doubt(logits: Tensor, norm: Norm) -> Tensor:
    """The margin that bfloat16 cannot tell from 0, (N,)."""
    return _CLOSE[norm] * (logits.amax(1) - logits.amin(1))


def check_count(name: str, number: object) -> None:
    """Refuse what is no whole number from 1 up.

    Raises:
        RobustAugError: names the parameter.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise RobustAugError(f"{name} is {number!r}; it must be a whole number, at least 1")


def _check_classes(classes: int, goal: Goal) -> None:
    for name, values in (("labels", goal.labels), ("targets", goal.targets)):
        if values is not None and not ((values >= 0) & (values < classes)).all():
            raise RobustAugError(
                f"{name} run from {int(values.min())} to {int(values.max())}, but the model has {classes} classes "
                f"(0 to {classes - 1}); check that model and data set belong together"
            )


def _goal(labels: Tensor, targets: Tensor | None) -> Goal:
    return Goal(_usable(labels), None if targets is None else _usable(targets))


def _usable(tensor: Tensor) -> Tensor:
    """Autograd refuses tensors that were made in inference mode, but not their copies."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()


def _check_tensors(**values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise RobustAugError(f"{name} are a {type(value).__name__}; they must be a torch tensor")


def _seeds(images: Tensor, generator: torch.Generator | None, seeds: Tensor | None) -> Tensor:
    n = len(images)
    if seeds is None:
        if generator is None:
            seeds = torch.arange(n)
        else:
            seeds = torch.randint(2**63 - 1, (n,), generator=generator, device=generator.device)
    if seeds.shape != (n,) or seeds.dtype != torch.int64:
        raise RobustAugError(
            f"seeds are {seeds.dtype} of shape {tuple(seeds.shape)}; they must be int64 of shape ({n},)"
        )
    return seeds.to(images.device)


def model_seed(seeds: Tensor) -> int:
    """One seed for a randomised model's own choices."""
    return int(seeds.sum()) & (2**63 - 1)
