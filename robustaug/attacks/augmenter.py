"""An attack with its model as an augmenter: what ``data.augmenter.Augmenter`` asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from robustaug.attacks.attack import Attack
from robustaug.files import sha256


@dataclass(frozen=True)
class AdversarialAugmenter:
    """Every image moved inside the attack's ball, so that the model errs on it.

    Attributes:
        attack: How.
        model: From images to logits, on the images' device; it is left as it was.
    """

    attack: Attack
    model: nn.Module

    @property
    def kind(self) -> str:
        """Of a manifest's rows."""
        return "adversarial"

    @property
    def name(self) -> str:
        """The attack's."""
        return str(self.attack.parameters()["attack"])

    def augment(self, images: Tensor, labels: Tensor, seeds: Tensor) -> Tensor:
        """See ``Augmenter.augment``; an image that the attack cannot break is moved all the same."""
        return self.attack(self.model, images, labels, seeds=seeds, batch_size="auto").images

    def drawn(self, seed: int) -> Mapping[str, Any]:
        """The attack with all its parameters, and the seed of its random start."""
        return {**self.attack.parameters(), "seed": seed}

    def describe(self) -> Mapping[str, Any]:
        """The attack with all its parameters, and the SHA-256 of the model's weights."""
        weights = b"".join(value.cpu().numpy().tobytes() for value in self.model.state_dict().values())
        return {**self.attack.parameters(), "model": sha256(weights)}
