"""Style transfer by optimising the image, after Gatys, Ecker and Bethge (CVPR 2016): many images in one optimisation.

Deviations from the paper, each for speed on small images: L-BFGS has a step of its own for each image, and Adam is
there by choice; the start is AdaIN's image, not noise (without a decoder that fits: the content image, and its
half-size version before that); VGG-16 to conv4_1 by default, not VGG-19 to conv5_1; relative losses (see
:mod:`robustaug.style.losses`); the image is kept inside [0, 1] at every step; small images are worked on enlarged.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustaug.hardware import autocast, exact_float32, resolve_precision
from robustaug.style.adain import AdaIN
from robustaug.style.bank import Blend, Painting
from robustaug.style.losses import gram
from robustaug.style.method import Styles, StyleTransfer, TargetCache, as_blends, resize_to, scaled
from robustaug.style.objective import Objective
from robustaug.style.optimise import minimise
from robustaug.style.settings import MAX_SIDE, SETTINGS, StyleSettings, settings_for
from robustaug.style.vgg import VGGEncoder, load_encoder


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
    strengths: ClassVar[tuple[tuple[int, float], ...]] = ((48, 0.65), (96, 1.0), (MAX_SIDE, 0.85))
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
            **({} if self._adain is None else {"decoder": self._adain.fingerprint}),
        }

    def _settings(self, height: int, width: int) -> StyleSettings:
        return self.settings or settings_for(height, width)

    def _working_size(self, height: int, width: int) -> tuple[int, int]:
        working_size = self._settings(height, width).working_size
        return (height, width) if min(height, width) >= working_size else scaled(height, width, working_size)

    def _transfer(
        self, work: Tensor, shape: tuple[int, int], blends: Sequence[Blend], strength: Tensor, cache: TargetCache
    ) -> tuple[Tensor, dict[str, Tensor]]:
        settings = self._settings(*shape)
        how = settings.learning_rate, settings.optimizer, settings.tolerance
        start = work
        if settings.start == "adain" and self._adain is not None:
            # Deviation from Gatys et al., who start from the content or from noise: the same losses in fewer steps.
            start = self._adain._transfer(work, shape, blends, strength, cache)[0]
        elif settings.coarse_steps > 0:
            # Coarse to fine (Gatys et al., "Controlling Perceptual Factors in Neural Style Transfer", 2017, section 6).
            # Deviation: what the coarse image gained is added to the content, which so keeps its own details.
            small = resize_to(work, (work.shape[2] // 2, work.shape[3] // 2))
            coarse = self._objective(small, settings, settings.painting_size // 2, blends, strength, cache)
            found = minimise(coarse, small, settings.coarse_steps, *how)
            size = (work.shape[2], work.shape[3])
            start = (work + (resize_to(found, size) - resize_to(small, size))).clamp(0, 1)
        objective = self._objective(work, settings, settings.painting_size, blends, strength, cache)
        images = minimise(objective, start, settings.steps, *how)
        with torch.no_grad():
            first, (last_content, last_style) = objective.losses(work)[1], objective.losses(images)
        return images, {"content_loss": last_content, "style_loss": last_style, "first_style_loss": first}

    @cached_property
    def _adain(self) -> AdaIN | None:
        """AdaIN with the package's decoder, if settings ask for it and it was trained with this encoder."""
        if self.settings is not None and self.settings.start != "adain":
            return None
        method = AdaIN(self.encoder, self.color, self.precision, self.batch_size)
        return method if method.has_decoder else None

    def _objective(
        self,
        work: Tensor,
        settings: StyleSettings,
        painting_size: int,
        blends: Sequence[Blend],
        strength: Tensor,
        cache: TargetCache,
    ) -> Objective:
        """From the content, and paintings with the given shorter side."""
        targets = [
            self._mixed(blend, settings.style_layers, painting_size, work[row : row + 1], cache)
            for row, blend in enumerate(blends)
        ]
        style = {layer: torch.stack([target[layer] for target in targets]) for layer in settings.style_layers}
        dtype = resolve_precision(self.precision, work.device)
        return Objective.of(self.encoder, settings, dtype, work, style, strength)

    def _mixed(
        self, blend: Blend, layers: tuple[str, ...], size: int, content: Tensor, cache: TargetCache
    ) -> dict[str, Tensor]:
        """The weighted mean of the paintings' Gram matrices."""
        targets = [self._targets(painting, layers, size, content, cache) for painting in blend.paintings]
        if len(targets) == 1:
            return targets[0]
        return {
            layer: torch.stack([w * target[layer] for w, target in zip(blend.weights, targets, strict=True)]).sum(0)
            for layer in layers
        }

    def _targets(
        self, painting: Painting, layers: tuple[str, ...], size: int, content: Tensor, cache: TargetCache
    ) -> dict[str, Tensor]:
        """A painting's Gram matrices, (C, C) a layer; kept, unless the painting takes on the content's colours."""
        key = (painting.sha256, size, layers, self.color, self.precision, self.encoder.fingerprint, content.device)

        def make() -> dict[str, Tensor]:
            image = self._picture(painting, size, content.device, content)
            with torch.no_grad(), autocast(resolve_precision(self.precision, image.device), image.device):
                features = self.encoder.forward(image, layers)
            return {layer: gram(features[layer])[0] for layer in layers}

        return make() if self.color == "statistics" else cache.get(key, make)


@torch.no_grad()
def measure(
    images: Tensor,
    content: Tensor,
    styles: Styles,
    *,
    settings: StyleSettings | None = None,
    encoder: VGGEncoder | None = None,
) -> dict[str, Tensor]:
    """Losses of finished images in float32, at the size that the settings work at: the same for every method.

    Args:
        images: (N, 3, H, W) in [0, 1], whoever made them.
        content: what they were made from, like ``images``.
        styles: one for all images or one for each.
        settings: layers, sizes and weights; None takes those of the image size.
        encoder: None takes the embedded one.

    Returns:
        ``content_loss``, ``style_loss`` (about 1 where the image knows nothing of the painting) and ``total_loss``
        (equation 7, with the total variation), (N,) each.

    Raises:
        RobustAugError: a size without settings, or styles that do not match the images.
    """
    gatys = Gatys(encoder or load_encoder().to(images.device), settings=settings, precision="float32")
    height, width = images.shape[-2:]
    chosen, size, cache = gatys._settings(height, width), gatys._working_size(height, width), TargetCache()
    found = [images.new_zeros(3, 0)]
    with exact_float32():
        for row, blend in enumerate(as_blends(styles, len(images))):
            work, image = (resize_to(batch[row : row + 1].float(), size) for batch in (content, images))
            objective = gatys._objective(work, chosen, chosen.painting_size, [blend], work.new_ones(1), cache)
            found.append(torch.stack([*objective.losses(image), objective(image)]))
    return dict(zip(("content_loss", "style_loss", "total_loss"), torch.cat(found, 1), strict=True))


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
