"""Style transfer by optimising the image, after Gatys, Ecker and Bethge (CVPR 2016): many images in one optimisation.

Deviations from the paper, each for speed on small images: Adam in place of L-BFGS; the start is the content image, not
noise; VGG-16 to conv4_1 by default, not VGG-19 to conv5_1; relative losses (see :mod:`robustaug.style.losses`); the
image is kept inside [0, 1] at every step; small images are worked on enlarged.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.hardware import Precision, autocast, resolve_precision
from robustaug.style.bank import Painting
from robustaug.style.colour import to_grey, with_colours_of
from robustaug.style.losses import content_loss, gram, style_loss, total_variation
from robustaug.style.settings import StyleSettings, settings_for
from robustaug.style.vgg import VGGEncoder, load_encoder

Paintings = Tensor | Painting | Sequence[Tensor] | Sequence[Painting]
_PIXELS_AT_ONCE = {"cpu": 2**15, "cuda": 2**22}


@dataclass(frozen=True)
class TransferResult:
    """Stylised images and the losses they ended with.

    Attributes:
        images: (N, 3, H, W) float32 in [0, 1], of the content's size.
        content_loss: (N,) relative content loss at the working size.
        style_loss: (N,) relative style loss.
        first_style_loss: (N,) style loss of the content image, where the optimisation started.
    """

    images: Tensor
    content_loss: Tensor
    style_loss: Tensor
    first_style_loss: Tensor


@dataclass(frozen=True)
class TargetCache:
    """Gram matrices of paintings, computed once a painting and setting; results are the same with and without it."""

    grams: dict[tuple[object, ...], dict[str, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class StyleTransfer:
    """The optimisation, as settings only: ``style(content, paintings, strength=1.0) -> images``.

    An image's result depends on its content, its painting and the settings alone, never on its neighbours in the
    batch: losses are summed over images and share no parameter. It is also the same byte for byte in any batch and
    order, as far as the kernels compute a sample alike at every batch size. On a CPU that was measured for two images
    and more (a lone one is computed as a pair); elsewhere every chunk is filled up to one fixed size.

    Attributes:
        encoder: VGG features; must hold the settings' layers.
        settings: None takes :func:`~robustaug.style.settings.settings_for` the image size.
        preserve_color: transfer luminance only and keep the content's chroma.
        precision: of the encoder; losses and Gram matrices are float32 always.
        batch_size: most images in one optimisation; fewer for large images, to bound memory.
    """

    encoder: VGGEncoder = field(default_factory=load_encoder)
    settings: StyleSettings | None = None
    preserve_color: bool = False
    precision: Precision = "auto"
    batch_size: int = 32

    @property
    def device(self) -> torch.device:
        """Where the encoder lies, and content and results with it."""
        return self.encoder.mean.device

    def __call__(
        self, content: Tensor, paintings: Paintings, *, strength: float = 1.0, cache: TargetCache | None = None
    ) -> Tensor:
        """The images of :meth:`run`."""
        return self.run(content, paintings, strength=strength, cache=cache).images

    def run(
        self, content: Tensor, paintings: Paintings, *, strength: float = 1.0, cache: TargetCache | None = None
    ) -> TransferResult:
        """Stylise a batch.

        Args:
            content: (N, 3, H, W) float in [0, 1], 16 to 1024 pixels a side.
            paintings: one for all images or one for each; as tensors, (3, h, w) or (N, 3, h, w) in [0, 1],
                kept as 8 bits.
            strength: 0 returns the content exactly, 1 takes the painting's whole style; between, the target Gram
                matrices lie on the line between the content's own and the painting's.
            cache: style targets of earlier calls, kept by the caller.

        Raises:
            RobustAugError: content outside its shape, size or range, paintings that do not match it, strength
                outside [0, 1].
        """
        _check(content, strength)
        chosen = _as_paintings(paintings, len(content))
        height, width = content.shape[-2:]
        settings = self.settings or settings_for(height, width)
        if strength == 0 or len(content) == 0:
            zeros = content.new_zeros(len(content))
            return TransferResult(content.clone(), zeros, zeros, zeros)
        cache = TargetCache() if cache is None else cache
        size = _working_size(height, width, settings)
        device = content.device
        chunk = self.images_at_once(height, width)
        results = []
        for start in range(0, len(content), chunk):
            rows = content[start : start + chunk]
            filled = max(2, len(rows)) if device.type == "cpu" else chunk
            index = torch.arange(filled, device=device) % len(rows)
            targets = [self._targets(chosen[start + int(i)], settings, device, cache) for i in index.tolist()]
            result = self._stylise(rows[index], targets, settings, strength, size)
            results.append([part[: len(rows)] for part in result])
        return TransferResult(*(torch.cat(parts) for parts in zip(*results, strict=True)))

    def images_at_once(self, height: int, width: int) -> int:
        """How many images of a size one optimisation takes: bounded by ``batch_size`` and by memory and caches."""
        settings = self.settings or settings_for(height, width)
        working_height, working_width = _working_size(height, width, settings)
        pixels = _PIXELS_AT_ONCE.get(self.device.type, 2**15)
        return min(self.batch_size, max(2, pixels // (working_height * working_width)))  # a lone one would cost two

    def _targets(
        self, painting: Painting, settings: StyleSettings, device: torch.device, cache: TargetCache
    ) -> Mapping[str, Tensor]:
        key = (painting.sha256, settings.painting_size, settings.style_layers, self.preserve_color, self.precision,
               self.encoder.fingerprint, device)  # fmt: skip
        if key not in cache.grams:
            image = painting.image[None].to(device).float() / 255
            image = _resize(image, _scaled(image.shape[2], image.shape[3], settings.painting_size))
            with torch.no_grad(), autocast(resolve_precision(self.precision, device), device):
                features = self.encoder(to_grey(image) if self.preserve_color else image, settings.style_layers)
            cache.grams[key] = {layer: gram(features[layer])[0] for layer in settings.style_layers}
        return cache.grams[key]

    def _stylise(
        self,
        content: Tensor,
        targets: Sequence[Mapping[str, Tensor]],
        settings: StyleSettings,
        strength: float,
        size: tuple[int, int],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One chunk: enlarge, optimise, bring back to the content's size."""
        work = content.float() if content.shape[-2:] == size else _resize(content.float(), size)
        if self.preserve_color:
            work = to_grey(work)
        dtype = resolve_precision(self.precision, content.device)

        def features(images: Tensor) -> dict[str, Tensor]:
            with autocast(dtype, content.device):
                return self.encoder.forward(images, settings.layers)

        with torch.no_grad():
            of_content = features(work)
            goal = of_content[settings.content_layer].float()
            style = {layer: torch.stack([target[layer] for target in targets]) for layer in settings.style_layers}
            if strength < 1:
                style = {layer: torch.lerp(gram(of_content[layer]), value, strength) for layer, value in style.items()}

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
        if images.shape != content.shape:
            images = _resize(images, (content.shape[2], content.shape[3]))
        if self.preserve_color:
            images = with_colours_of(content.float(), images)
        return images, last_content, last_style, first


def transfer(content: Tensor, style: Paintings, *, strength: float = 1.0) -> Tensor:
    """Stylise images with the default encoder and settings.

    Args:
        content: (N, 3, H, W) float in [0, 1], 16 to 1024 pixels a side.
        style: a painting (3, h, w) in [0, 1], or one for each image.
        strength: 0 (the content, exactly) to 1 (the painting's whole style).

    Returns:
        (N, 3, H, W) float32 in [0, 1].

    Raises:
        RobustAugError: see :meth:`StyleTransfer.run`.
    """
    device = content.device
    return StyleTransfer(encoder=load_encoder().to(device))(content, style, strength=strength)


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


def _check(content: Tensor, strength: float) -> None:
    if content.ndim != 4 or content.shape[1] != 3:
        raise RobustAugError(f"content must be images of shape (N, 3, H, W), not {tuple(content.shape)}")
    if not content.is_floating_point() or (len(content) and not (content.amin() >= 0 and content.amax() <= 1)):
        raise RobustAugError("content must be float images with values in [0, 1]; divide 8-bit images by 255")
    if not 0 <= strength <= 1:
        raise RobustAugError(f"strength {strength} is outside [0, 1]; 0 keeps the content, 1 takes the whole style")


def _as_paintings(paintings: Paintings, n: int) -> list[Painting]:
    if isinstance(paintings, Painting) or (isinstance(paintings, Tensor) and paintings.ndim == 3):
        paintings = [paintings] * n  # type: ignore[assignment]
    chosen = [p if isinstance(p, Painting) else Painting.from_tensor(p) for p in paintings]  # type: ignore[union-attr]
    if len(chosen) != n:
        raise RobustAugError(f"{len(chosen)} paintings for {n} images; give one for all or one for each")
    return chosen


def _scaled(height: int, width: int, shorter: int) -> tuple[int, int]:
    """The size with the given shorter side and the same aspect."""
    scale = shorter / min(height, width)
    return max(shorter, round(height * scale)), max(shorter, round(width * scale))


def _working_size(height: int, width: int, settings: StyleSettings) -> tuple[int, int]:
    enough = min(height, width) >= settings.working_size
    return (height, width) if enough else _scaled(height, width, settings.working_size)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
