"""Adversarial examples in a training loop of one's own: a transform of batches, and a loader that applies it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.data import get_worker_info

from robustaug import randomness
from robustaug.attacks.attack import Attack
from robustaug.attacks.oracle import undisturbed
from robustaug.attacks.threat import parse_number
from robustaug.errors import RobustAugError


@dataclass
class Adversarial:
    """A transform of whole batches, as torchvision's ``v2.MixUp`` and ``v2.CutMix`` are: attacks some of the images.

    Called with ``images, labels, ...`` or one tuple of them, it returns a tuple of the same length: the images against
    the model as it is at this moment, and everything else as it was. The model is attacked in eval mode, and left as it
    was. Images may be on another device than the model; they return to theirs.

    It belongs after the loader, or in the ``collate_fn`` of a loader without worker processes, and before transforms
    that mix labels.

    Attributes:
        model: From images to logits; normalisation inside.
        attack: Any attack of the library.
        share: Share of each batch that is attacked, in [0, 1]; which images, is drawn anew for each batch.
        seed: Of all random choices; the same seed gives the same batches again.
        calls: Batches so far: each draws other random numbers.

    Raises:
        RobustAugError: a share out of range; when called, a batch without images and labels, images and labels that an
            attack would refuse, or a worker process.
    """

    model: nn.Module
    attack: Attack
    share: float = 1.0
    seed: int = 0
    calls: int = 0

    def __post_init__(self) -> None:
        self.share = parse_number(self.share, "share")
        if not 0 <= self.share <= 1:
            raise RobustAugError(f"share is {self.share:g}; it must be between 0 and 1")

    def __call__(self, *batch: Any) -> tuple[Any, ...]:
        """Attack a batch: images float32 (N, C, H, W) and labels int64 (N,), then anything."""
        if get_worker_info() is not None:
            raise RobustAugError(
                "adversarial examples cannot be made in a loader's worker process, whose copy of the model does not "
                "learn; apply the transform to the batches that the loader gives, or set num_workers=0"
            )
        parts = batch[0] if len(batch) == 1 else batch
        if not isinstance(parts, tuple | list):
            raise RobustAugError(
                f"a batch is a {type(parts).__name__}; it must be a tuple of images, labels and anything else"
            )
        if len(parts) < 2:
            raise RobustAugError("a batch has no labels; it must be a tuple of images, labels and anything else")
        images, labels, *rest = parts
        device = next((parameter.device for parameter in self.model.parameters()), None)
        moved, classes = (part.to(device) if isinstance(part, Tensor) else part for part in (images, labels))
        self.attack._check(self.model, moved, classes, None)
        n, number = len(images), self.calls
        self.calls += 1
        rows = randomness.permutation(n, self.seed, number, "share")[: round(self.share * n)].to(moved.device)
        if len(rows) == 0:
            return images, labels, *rest
        seeds = randomness.fold(rows, randomness.derive_seed(self.seed, number, "attack"))
        with undisturbed(self.model, number):
            adversarial = self.attack.perturb(self.model, moved[rows], classes[rows], seeds=seeds)
        return moved.index_copy(0, rows, adversarial).to(images.device), labels, *rest


@dataclass
class AdversarialBatches:
    """A loader whose batches are made adversarial: ``Adversarial`` around any loader of (images, labels, ...).

    Attributes:
        loader: Any iterable of batches, such as a ``DataLoader``, with as many worker processes as wanted.
        model: As for ``Adversarial``; so are ``attack``, ``share`` and ``seed``.
        attack: Any attack of the library.
        share: Share of each batch that is attacked.
        seed: Of all random choices.
        epoch: Passes over the loader begun so far: each draws other random numbers. Set it when training resumes.
    """

    loader: Iterable[Any]
    model: nn.Module
    attack: Attack
    share: float = 1.0
    seed: int = 0
    epoch: int = 0

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """One epoch; every batch is attacked when it is asked for, against the model as it is then."""
        seed = randomness.derive_seed(self.seed, "epoch", self.epoch)
        self.epoch += 1
        return map(Adversarial(self.model, self.attack, self.share, seed), self.loader)

    def __len__(self) -> int:
        """Number of batches, where the loader knows it."""
        return len(self.loader)  # type: ignore[arg-type]
