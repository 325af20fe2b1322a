"""What Gatys's method minimises, for many images at once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustaug.hardware import autocast
from robustaug.style.losses import content_loss, gram, style_loss, total_variation, weighted_sum
from robustaug.style.settings import StyleSettings
from robustaug.style.vgg import VGGEncoder


@dataclass(frozen=True, eq=False)
class Objective:
    """Equation 7 of Gatys, Ecker and Bethge (2016): one loss an image, (N,), of the images alone.

    Attributes:
        encoder: whose features are compared.
        settings: layers and weights.
        dtype: of the convolutions; Gram matrices and losses are float32.
        content: by content layer, P of equation 1, (N, C, h, w).
        style: by style layer, A of equation 4, (N, C, C).
    """

    encoder: VGGEncoder
    settings: StyleSettings
    dtype: torch.dtype
    content: Mapping[str, Tensor]
    style: Mapping[str, Tensor]

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        encoder: VGGEncoder,
        settings: StyleSettings,
        dtype: torch.dtype,
        content: Tensor,
        style: Mapping[str, Tensor],
        strength: Tensor,
    ) -> "Objective":
        """Towards images (N, 3, H, W), and Gram matrices on the line from their own to ``style`` by strengths (N,)."""
        with autocast(dtype, content.device):
            features = encoder.forward(content, settings.layers)
        share = strength[:, None, None]
        style = {layer: torch.lerp(gram(features[layer]), style[layer], share) for layer in settings.style_layers}
        return cls(encoder, settings, dtype, {layer: features[layer] for layer in settings.content_layers}, style)

    def losses(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Content and style loss of each image, (N,) each."""
        with autocast(self.dtype, images.device):
            found = self.encoder.forward(images, self.settings.layers)
        content = {layer: content_loss(found[layer], goal) for layer, goal in self.content.items()}
        grams = {layer: gram(found[layer]) for layer in self.style}
        return (
            weighted_sum(content, self.settings.content_shares),
            style_loss(grams, self.style, self.settings.style_shares),
        )

    def __call__(self, images: Tensor) -> Tensor:
        """The weighted sum, of each image."""
        content, style = self.losses(images)
        loss = self.settings.content_weight * content + style
        if self.settings.variation_weight > 0:
            loss = loss + self.settings.variation_weight * total_variation(images)
        return loss

    def __getitem__(self, rows: Tensor) -> "Objective":
        """The objective of some of the images."""
        content = {layer: goal[rows] for layer, goal in self.content.items()}
        return replace(self, content=content, style={layer: target[rows] for layer, target in self.style.items()})
