"""What every attack is: a frozen description, called with a model, images and labels."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from robustaug.attacks.norms import GEOMETRIES, Ball
from robustaug.attacks.oracle import Oracle, undisturbed
from robustaug.attacks.threat import ThreatModel
from robustaug.errors import RobustAugError
from robustaug.hardware import Precision, resolve_precision


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
class Goal:
    """What an attack wants of each image: away from ``labels``, or, if given, towards ``targets``; int64 (N,) each."""

    labels: Tensor
    targets: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> "Goal":
        return Goal(self.labels[rows], None if self.targets is None else self.targets[rows])

    def gradient(self, oracle: Oracle, images: Tensor) -> Tensor:
        """The direction of progress: up the loss of the label, or down the loss of the target."""
        if self.targets is None:
            return oracle.loss_gradient(images, self.labels)
        return -oracle.loss_gradient(images, self.targets)

    def margin(self, logits: Tensor) -> Tensor:
        """How far beyond the decision each sample is, shape (N,): positive if the goal is met, negative if not."""
        wanted = self.labels if self.targets is None else self.targets
        chosen = logits.gather(1, wanted[:, None]).squeeze(1)
        others = logits.scatter(1, wanted[:, None], -torch.inf).amax(1)
        return others - chosen if self.targets is None else chosen - others

    def is_met(self, predictions: Tensor) -> Tensor:
        """Whether each prediction is a success, bool (N,)."""
        return predictions != self.labels if self.targets is None else predictions == self.targets


@dataclass(frozen=True)
class Attack(ABC):
    """Base of all attacks: a frozen description without state.

    Attributes:
        threat: What the attacker may do.
        precision: Of convolutions and matrix products while gradients are sought: ``"float32"``, ``"bfloat16"`` or
            ``"auto"``. The verdict is always float32.
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

        Raises:
            RobustAugError: images, labels, targets or model outputs break their contract, or are not finite.
        """
        goal = self._checked_goal(model, images, labels, targets)
        images = images.detach()
        oracle = Oracle(model, resolve_precision(self.precision, images.device))
        if len(images) == 0:
            empty = torch.zeros(0, device=images.device)
            return AttackResult(images.clone(), empty.bool(), empty.long(), empty, 0, 0)
        with undisturbed(model):
            self._check_classes(oracle.logits(images), goal)
            adversarial = self._search(oracle, Ball.around(images, self.threat), goal, _seeds(images, generator, seeds))
            oracle.check_finite()
            predictions = oracle.logits(adversarial).argmax(1)
        return AttackResult(
            images=adversarial,
            success=goal.is_met(predictions),
            predictions=predictions,
            distance=GEOMETRIES[self.threat.norm].distance(adversarial - images),
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
        oracle = Oracle(model, resolve_precision(self.precision, images.device))
        return self._search(
            oracle, Ball.around(images, self.threat), Goal(labels, targets), _seeds(images, None, seeds)
        )

    @abstractmethod
    def _search(self, oracle: Oracle, ball: Ball, goal: Goal, seeds: Tensor) -> Tensor:
        """Find adversarial images inside the ball, shape (N, C, H, W)."""

    def parameters(self) -> dict[str, Any]:
        """Name and every parameter as plain values, for reports and manifests."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "threat"}
        threat = {"norm": self.threat.norm, "eps": self.threat.eps, "bounds": list(self.threat.bounds)}
        return {"attack": type(self).__name__, **threat, **own}

    def _checked_goal(self, model: nn.Module, images: Tensor, labels: Tensor, targets: Tensor | None) -> Goal:
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
        return Goal(labels, targets)

    def _check_classes(self, logits: Tensor, goal: Goal) -> None:
        classes = logits.shape[1]
        for name, values in (("labels", goal.labels), ("targets", goal.targets)):
            if values is not None and not ((values >= 0) & (values < classes)).all():
                raise RobustAugError(
                    f"{name} run from {int(values.min())} to {int(values.max())}, but the model has {classes} classes "
                    f"(0 to {classes - 1}); check that model and data set belong together"
                )


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
