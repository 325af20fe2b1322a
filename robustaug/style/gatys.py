"""Style transfer by optimising the image, after Gatys, Ecker and Bethge (CVPR 2016): many images in one optimisation.

Deviations from the paper, each for speed on small images: Adam in place of L-BFGS; the start is the content image, not
noise; VGG-16 to conv4_1 by default, not VGG-19 to conv5_1; relative losses (see :mod:`robustaug.style.losses`); the
image is kept inside [0, 1] at every step; small images are worked on enlarged.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustaug.hardware import autocast, resolve_precision
from robustaug.style.bank import Blend, Painting
from robustaug.style.losses import content_loss, gram, style_loss, total_variation
from robustaug.style.method import Styles, StyleTransfer, TargetCache, scaled
from robustaug.style.settings import SETTINGS, StyleSettings, settings_for
from robustaug.style.vgg import load_encoder


@dataclass(frozen=True, eq=False)
class Gatys(StyleTransfer):
    """The optimisation.

    Losses are summed over images and share no parameter. Between strengths 0 and 1 the target Gram matrices lie on the
    line between the content's own and the painting's; those of a blend are the weighted mean of its paintings'.

    Attributes:
        settings: None takes :func:`~robustaug.style.settings.settings_for` the image size.
    """

    settings: StyleSettings | None = None

    name: ClassVar[str] = "gatys"
    loss_names: ClassVar[tuple[str, ...]] = ("content_loss", "style_loss", "first_style_loss")

    def describe(self) -> dict[str, Any]:
        """As :class:`StyleTransfer` says."""
        settings: Any = asdict(self.settings) if self.settings else [[size, asdict(each)] for size, each in SETTINGS]
        return {
            "method": self.name,
            "color": self.color,
            "precision": str(resolve_precision(self.precision, self.device)).removeprefix("torch."),
            "encoder": self.encoder.fingerprint,
            "settings": settings,
        }

    def _settings(self, height: int, width: int) -> StyleSettings:
        return self.settings or settings_for(height, width)

    def _working_size(self, height: int, width: int) -> tuple[int, int]:
        working_size = self._settings(height, width).working_size
        return (height, width) if min(height, width) >= working_size else scaled(height, width, working_size)

    def _transfer(
        self, work: Tensor, shape: tuple[int, int], blends: Sequence[Blend], strength: Tensor, cache: TargetCache
    ) -> tuple[Tensor, dict[str, Tensor]]:
        settings, dtype = self._settings(*shape), resolve_precision(self.precision, work.device)

        def features(images: Tensor) -> dict[str, Tensor]:
            with autocast(dtype, images.device):
                return self.encoder.forward(images, settings.layers)

        with torch.no_grad():
            of_content = features(work)
            goal = of_content[settings.content_layer].float()
            targets = [self._mixed(blend, settings, work.device, cache) for blend in blends]
            style = {layer: torch.stack([target[layer] for target in targets]) for layer in settings.style_layers}
            share = strength[:, None, None]
            style = {layer: torch.lerp(gram(of_content[layer]), value, share) for layer, value in style.items()}

        def losses(images: Tensor) -> tuple[Tensor, Tensor]:
            found = features(images)
            return (
                content_loss(found[settings.content_layer], goal),
                style_loss({layer: gram(found[layer]) for layer in settings.style_layers}, style),
            )

        def objective(images: Tensor) -> Tensor:
            """Equation 7: the weighted sum, of each image alone; summed, because images share nothing."""
            of_content, of_style = losses(images)
            loss = settings.content_weight * of_content + of_style
            if settings.variation_weight > 0:
                loss = loss + settings.variation_weight * total_variation(images)
            return loss.sum()

        with torch.no_grad():
            first = losses(work)[1]
        images = _adam(objective, work, settings.steps, settings.learning_rate)
        with torch.no_grad():
            last_content, last_style = losses(images)
        return images, {"content_loss": last_content, "style_loss": last_style, "first_style_loss": first}

    def _mixed(
        self, blend: Blend, settings: StyleSettings, device: torch.device, cache: TargetCache
    ) -> dict[str, Tensor]:
        """The weighted mean of the paintings' Gram matrices."""
        targets = [self._targets(painting, settings, device, cache) for painting in blend.paintings]
        if len(targets) == 1:
            return targets[0]
        return {
            layer: torch.stack([w * target[layer] for w, target in zip(blend.weights, targets, strict=True)]).sum(0)
            for layer in settings.style_layers
        }

    def _targets(
        self, painting: Painting, settings: StyleSettings, device: torch.device, cache: TargetCache
    ) -> dict[str, Tensor]:
        key = (painting.sha256, settings.painting_size, settings.style_layers, self.color, self.precision,
               self.encoder.fingerprint, device)  # fmt: skip
        if key not in cache.targets:
            image = self._picture(painting, settings.painting_size, device)
            with torch.no_grad(), autocast(resolve_precision(self.precision, device), device):
                features = self.encoder(image, settings.style_layers)
            cache.targets[key] = {layer: gram(features[layer])[0] for layer in settings.style_layers}
        return cache.targets[key]


def transfer(content: Tensor, style: Styles, *, strength: float = 1.0) -> Tensor:
    """Stylise images with the default encoder and settings.

    Args:
        content: (N, 3, H, W) float in [0, 1], 16 to 1024 pixels a side.
        style: one for all images or one for each; as tensors, (3, h, w) in [0, 1].
        strength: 0 (the content, exactly) to 1 (the painting's whole style).

    Returns:
        (N, 3, H, W) float32 in [0, 1].

    Raises:
        RobustAugError: see :meth:`StyleTransfer.run`.
    """
    device = content.device
    return Gatys(encoder=load_encoder().to(device))(content, style, strength=strength)


def _adam(objective: Callable[[Tensor], Tensor], start: Tensor, steps: int, learning_rate: float) -> Tensor:
    """Adam (Kingma and Ba 2015, algorithm 1) on pixels, kept inside [0, 1], learning rate along a half cosine to zero.

    Single multiplications and additions, no fused ones: those may round differently at a vector's end, and then an
    image's bytes would depend on its place in the batch.
    """
    beta1, beta2, tiny = 0.9, 0.999, 1e-8
    images = start.clone()
    mean, square = torch.zeros_like(images), torch.zeros_like(images)
    for step in range(1, steps + 1):
        with torch.enable_grad():
            images.requires_grad_()
            (gradient,) = torch.autograd.grad(objective(images), images)
        images = images.detach()
        mean = mean.mul_(beta1).add_(gradient * (1 - beta1))
        square = square.mul_(beta2).add_(gradient.square().mul_(1 - beta2))
        rate = learning_rate * (1 + math.cos(math.pi * (step - 1) / steps)) / 2
        update = (mean / (1 - beta1**step)).div_((square / (1 - beta2**step)).sqrt_().add_(tiny)).mul_(rate)
        images = images.sub_(update).clamp_(0, 1)
    return images
