"""What every objective is: an inner maximisation over images, and a loss of the weights."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from robustaug.attacks import Attack
from robustaug.errors import RobustAugError
from robustaug.training.objectives.learner import Learner


@dataclass(frozen=True)
class MixedLabels:
    """The labels of mixed images, on the model's device.

    Attributes:
        others: Of the image that each was mixed with, or its own, int64 (N,).
        share: What is left to its own label, float32 (N,), 0 to 1.
    """

    others: Tensor
    share: Tensor


@dataclass(frozen=True)
class Task:
    """One step's batch, on the model's device.

    Attributes:
        images: Float32 in [0, 1], (N, C, H, W), after augmentation: originals, stylised variants, and the originals of
            the adversarial rows.
        labels: int64 (N,).
        rows: The adversarial rows, int64 (A,).
        attack: The training attack with the warmed-up eps; None where no row is adversarial.
        seeds: Of each adversarial row, int64 (A,).
        step: Number of the step, from 0.
        mixed: The labels that images were mixed with; None where none was.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    attack: Attack | None
    seeds: Tensor
    step: int = 0
    mixed: MixedLabels | None = None

    def cross_entropy(self, logits: Tensor, label_smoothing: float) -> Tensor:
        """The mean over all rows, a scalar; of mixed rows with both labels, in their shares."""
        if self.mixed is None:
            return F.cross_entropy(logits, self.labels, label_smoothing=label_smoothing)
        own, others = (
            F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
            for labels in (self.labels, self.mixed.others)
        )
        return (self.mixed.share * own + (1 - self.mixed.share) * others).mean()

    def among(self, values: Tensor, adversarial: Tensor) -> Tensor:
        """``values`` of all rows, those of the adversarial rows replaced."""
        return values.index_copy(0, self.rows, adversarial) if len(self.rows) else values


@dataclass(frozen=True)
class Terms:
    """What a loss came to.

    Attributes:
        loss: A float32 scalar, with its graph.
        logits: Float32 (N, K) without a graph, in the order of the labels, those of adversarial images in their rows:
            for the running accuracy.
    """

    loss: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Objective(ABC):
    """min over weights of a loss at the images that an attack found: Madry et al. (2018), equation 2.1, and its kin.

    Rows that are not adversarial get plain cross-entropy, and all rows of a batch count the same, so that every
    objective works with every mix.

    Attributes:
        replays: Steps that one batch serves.
        needs_others: Whether AdvProp needs rows that are not adversarial: without a natural pass, the main batch norms
            would otherwise see nothing.
        is_single_step: Whether catastrophic overfitting is to be watched for.
        takes_mixed_labels: Whether rows may have two labels (``Task.mixed``).
    """

    replays: ClassVar[int] = 1
    needs_others: ClassVar[bool] = True
    is_single_step: ClassVar[bool] = False
    takes_mixed_labels: ClassVar[bool] = False

    def check(self, attack: Attack) -> None:  # noqa: B027 - most take any
        """Refuse a training attack that this objective cannot use.

        Raises:
            RobustAugError: says which is needed.
        """

    def attack(self, attack: Attack) -> Attack:
        """What solves the inner maximisation, from the training attack."""
        return attack

    def raised(self, times: int) -> "Objective":  # noqa: ARG002 - most have no noise
        """This objective with its noise raised so many times."""
        return self

    def perturbed(self, learner: Learner, task: Task) -> Tensor:
        """The inner maximisation: images for the adversarial rows, (A, C, H, W), without a graph."""
        if task.attack is None:
            return task.images[:0]
        with learner.attacked():
            return self.attack(task.attack).perturb(
                learner.network, task.images[task.rows], task.labels[task.rows], seeds=task.seeds
            )

    @abstractmethod
    def terms(self, learner: Learner, task: Task, adversarial: Tensor) -> Terms:
        """The outer loss at these adversarial images."""

    def gradients(self, learner: Learner, task: Task, adversarial: Tensor) -> Terms:
        """The outer loss, its gradients added to those of the weights."""
        terms = self.terms(learner, task, adversarial)
        torch.autograd.backward(terms.loss)
        return terms


def check_beta(beta: float) -> None:
    """Refuse a weight that is negative or not finite.

    Raises:
        RobustAugError: it is.
    """
    if not (math.isfinite(beta) and beta >= 0):
        raise RobustAugError(f"training.beta is {beta:g}; it is the weight of the divergence, 0 or larger")
