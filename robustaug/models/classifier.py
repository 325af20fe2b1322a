"""The wrapper that keeps normalisation inside the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from robustaug.errors import RobustAugError


@dataclass(frozen=True)
class ModelSpec:
    """What is needed to build a model again: the arguments of ``build_model``, without the weights.

    Attributes:
        name: ``small_cnn``, ``wide_resnet8``, ``preact_resnet18`` or ``torchvision:NAME``.
        num_classes: number of logits K.
        image_size: (H, W) in pixels.
        options: the model's own options, plain JSON values.
    """

    name: str
    num_classes: int
    image_size: tuple[int, int]
    options: Mapping[str, Any] = field(default_factory=dict)


class ImageClassifier(nn.Module):
    """A backbone behind its own normalisation: images in [0, 1] go in, logits come out.

    Args:
        backbone: any module from normalised images (N, C, H, W) to logits (N, K).
        mean: one value a channel, subtracted first.
        std: one positive value a channel, divided by next.
        spec: how to build the backbone again; ``build_model`` sets it, ``save_checkpoint`` needs it.

    Raises:
        RobustAugError: ``mean`` and ``std`` differ in length, or a value is not finite or a ``std`` not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, mean: Sequence[float], std: Sequence[float], spec: ModelSpec | None = None
    ) -> None:
        super().__init__()
        mean_values, std_values = (torch.tensor(values, dtype=torch.float32) for values in (mean, std))
        finite = bool(mean_values.isfinite().all() and std_values.isfinite().all())
        if len(mean) != len(std) or not finite or not bool((std_values > 0).all()):
            raise RobustAugError(
                f"mean {list(mean)} and std {list(std)} do not fit: one finite value a channel, std > 0"
            )
        self.backbone = backbone
        self.spec = spec
        self.register_buffer("mean", mean_values.view(1, -1, 1, 1))
        self.register_buffer("std", std_values.view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of float32 images (N, C, H, W) in [0, 1]."""
        logits: Tensor = self.backbone((images - self.mean) / self.std)
        return logits
