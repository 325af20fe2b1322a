"""Style transfer as an augmenter: what ``data.augmenter.Augmenter`` asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from robustaug.style.random_style import RandomStyle


@dataclass(frozen=True)
class StyleAugmenter:
    """Every image in the style of a painting that its seed draws.

    Attributes:
        style: Which paintings, how strong, and by which transfer: ``RandomStyle(bank, strength=..., method=...)``; its
            ``p`` is of no matter here.
    """

    style: RandomStyle

    @property
    def kind(self) -> str:
        """Of a manifest's rows."""
        return "stylised"

    @property
    def name(self) -> str:
        """The transfer's."""
        return str(self.style.describe()["method"]["method"])

    def augment(self, images: Tensor, labels: Tensor, seeds: Tensor) -> Tensor:  # noqa: ARG002 - no label matters
        """See ``Augmenter.augment``."""
        return self.style.restyle(images, seeds)

    def drawn(self, seed: int) -> Mapping[str, Any]:
        """The painting, its hash, the strength, the transfer."""
        return self.style.drawn(seed)

    def describe(self) -> Mapping[str, Any]:
        """Paintings, strengths, and the transfer with its settings."""
        return self.style.describe()
