"""What every style transfer method is: settings only, called with images and the paintings to take after."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.hardware import Precision, in_fitting_batches
from robustaug.style.bank import Blend, Painting
from robustaug.style.colour import to_grey, with_colours_of, with_statistics_of
from robustaug.style.settings import MAX_SIDE
from robustaug.style.vgg import VGGEncoder, load_encoder

# What an image may take after; and one for all images, or one for each.
Style = Painting | Blend | Tensor
Styles = Style | Sequence[Style]
Color = Literal["painting", "luminance", "statistics"]


@dataclass(frozen=True)
class TransferResult:
    """Stylised images and the losses they ended with.

    Attributes:
        images: (N, 3, H, W) float32 in [0, 1], of the content's size.
        losses: by name, (N,) each: those of the method's ``loss_names``.
    """

    images: Tensor
    losses: Mapping[str, Tensor]


@dataclass
class TargetCache:
    """What a method computes from a painting, kept by the caller; results are the same with and without it.

    Attributes:
        limit: bytes that all targets together may take; beyond it the least recently used go.
        targets: in the order of their last use.
    """

    limit: int = 2**28
    targets: dict[tuple[object, ...], dict[str, Tensor]] = field(default_factory=dict)
    _bytes: int = field(default=0, init=False, repr=False)

    def get(self, key: tuple[object, ...], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The targets under a key, made now if they are not there."""
        found = self.targets.pop(key, None)
        if found is None:
            found = make()
            self._bytes += _bytes_of(found)
        self.targets[key] = found
        while self._bytes > self.limit and len(self.targets) > 1:
            self._bytes -= _bytes_of(self.targets.pop(next(iter(self.targets))))
        return found


@dataclass(frozen=True, eq=False)
class StyleTransfer(ABC):
    """A method, as settings only: ``method(content, paintings, strength=1.0) -> images``.

    An image's result depends on its content, its paintings and the settings alone, never on its neighbours in the
    batch. It is also the same byte for byte in any batch and order, as far as the kernels compute a sample alike at
    every batch size. On a CPU that was measured for two images and more (a lone one is computed as a pair); elsewhere
    every chunk is filled up to one fixed size.

    Attributes:
        encoder: VGG features; must hold the layers that the method looks at.
        color: whose colours: the ``"painting"``'s, or the content's, by transferring ``"luminance"`` only or by giving
            the painting the content's mean and covariance beforehand (``"statistics"``; Gatys et al. 2016, "Preserving
            Color in Neural Artistic Style Transfer", sections 4 and 3).
        precision: of the convolutions; losses and Gram matrices are float32 always.
        batch_size: most images at a time; fewer for large images, and half as many each time that memory runs out.

    Raises:
        RobustAugError: an unknown color, or a batch size below 1.
    """

    encoder: VGGEncoder = field(default_factory=load_encoder)
    color: Color = "painting"
    precision: Precision = "auto"
    batch_size: int = 32

    name: ClassVar[str]
    loss_names: ClassVar[tuple[str, ...]] = ()
    # (largest shorter side in px, strength): what keeps nine labels in ten, measured; see docs/style.md.
    strengths: ClassVar[tuple[tuple[int, float], ...]] = ((MAX_SIDE, 1.0),)
    pixels_at_once: ClassVar[dict[str, int]] = {"cpu": 2**15, "cuda": 2**22}

    def __post_init__(self) -> None:
        if self.color not in get_args(Color):
            raise RobustAugError(f"color {self.color!r} is unknown; use one of {', '.join(get_args(Color))}")
        if self.batch_size < 1:
            raise RobustAugError(f"batch_size is {self.batch_size}; it must be at least 1")

    @classmethod
    def default_strength(cls, height: int, width: int) -> float:
        """The largest strength at which about nine labels in ten survived on images of this size."""
        return next(strength for largest, strength in cls.strengths if min(height, width) <= largest)

    @property
    def device(self) -> torch.device:
        """Where the encoder lies, and content and results with it."""
        return self.encoder.mean.device

    def __call__(
        self,
        content: Tensor,
        styles: Styles,
        *,
        strength: float | Tensor = 1.0,
        mask: Tensor | None = None,
        cache: TargetCache | None = None,
    ) -> Tensor:
        """The images of :meth:`run`."""
        return self.run(content, styles, strength=strength, mask=mask, cache=cache).images

    def run(
        self,
        content: Tensor,
        styles: Styles,
        *,
        strength: float | Tensor = 1.0,
        mask: Tensor | None = None,
        cache: TargetCache | None = None,
    ) -> TransferResult:
        """Stylise a batch.

        Args:
            content: (N, 3, H, W) float in [0, 1], 16 to 1024 pixels a side.
            styles: one for all images or one for each: a painting, a blend of several, or a tensor (3, h, w) in
                [0, 1], kept as 8 bits.
            strength: 0 returns the content exactly, 1 takes the whole style; one for all images, or (N,).
            mask: (N, 1, H, W) in [0, 1]: the result is the content where it is 0, the stylised image where it is 1, and
                between them a blend of the two; the whole image is stylised all the same.
            cache: style targets of earlier calls, kept by the caller.

        Raises:
            RobustAugError: content outside its shape, size or range, styles or a mask that do not match it, strength
                outside [0, 1], or memory that runs out for a single image.
        """
        _check(content, mask)
        strengths = _as_strengths(strength, content)
        blends = as_blends(styles, len(content))
        height, width = content.shape[-2:]
        chunk, size = self.images_at_once(height, width), self._working_size(height, width)
        if not strengths.any():
            return TransferResult(content.clone(), dict.fromkeys(self.loss_names, content.new_zeros(len(content))))
        cache = TargetCache() if cache is None else cache

        def work_on(batch: slice) -> TransferResult:
            rows = content[batch].float()
            filled = max(2, len(rows)) if content.device.type == "cpu" else batch.stop - batch.start
            index = [i % len(rows) for i in range(filled)]
            work = resize_to(rows[index], size)
            if self.color == "luminance":
                work = to_grey(work)
            given = [blends[batch.start + i] for i in index], strengths[batch][index]
            images, losses = self._transfer(work, (height, width), *given, cache)
            images = resize_to(images[: len(rows)], (height, width))
            if self.color == "luminance":
                images = with_colours_of(rows, images)
            if mask is not None:
                images = rows * (1 - mask[batch]) + images * mask[batch]
            images = torch.where(strengths[batch, None, None, None] > 0, images, rows)
            return TransferResult(images, {name: value[: len(rows)] for name, value in losses.items()})

        parts = in_fitting_batches(work_on, len(content), chunk)
        joined = {name: torch.cat([part.losses[name] for part in parts]) for name in self.loss_names}
        return TransferResult(torch.cat([part.images for part in parts]), joined)

    def images_at_once(self, height: int, width: int) -> int:
        """How many images of a size are worked on together: bounded by ``batch_size`` and by memory and caches."""
        working_height, working_width = self._working_size(height, width)
        pixels = self.pixels_at_once.get(self.device.type, self.pixels_at_once["cpu"])
        return min(self.batch_size, max(2, pixels // (working_height * working_width)))  # a lone one would cost two

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Everything that a result depends on but content, styles and strength, as JSON values."""

    @abstractmethod
    def _working_size(self, height: int, width: int) -> tuple[int, int]:
        """The size at which images of a size are worked on.

        Raises:
            RobustAugError: a size that the method cannot take.
        """

    @abstractmethod
    def _transfer(
        self, work: Tensor, shape: tuple[int, int], blends: Sequence[Blend], strength: Tensor, cache: TargetCache
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Stylise one chunk, enlarged to the working size from a shape: images like ``work`` in [0, 1], and losses.

        Blends and strengths, (N,) on the images' device, are one for each.
        """

    def _picture(self, painting: Painting, shorter: int, device: torch.device, content: Tensor | None = None) -> Tensor:
        """A painting as (1, 3, h, w) float in [0, 1] with the given shorter side, grey if only luminance counts.

        With colours by ``"statistics"`` it takes on those of the content, (1, 3, H, W): such a picture cannot be kept.
        """
        image = painting.image[None].to(device).float() / 255
        image = resize_to(image, scaled(image.shape[2], image.shape[3], shorter))
        if self.color == "statistics" and content is not None:
            return with_statistics_of(content, image)
        return to_grey(image) if self.color == "luminance" else image


def as_blends(styles: Styles, n: int) -> list[Blend]:
    """One blend for each of ``n`` images.

    Raises:
        RobustAugError: neither one style for all nor one for each.
    """
    if isinstance(styles, Painting | Blend) or (isinstance(styles, Tensor) and styles.ndim == 3):
        return [Blend.of(styles)] * n
    blends = [Blend.of(style) for style in styles]
    if len(blends) != n:
        raise RobustAugError(f"{len(blends)} paintings for {n} images; give one for all or one for each")
    return blends


def scaled(height: int, width: int, shorter: int) -> tuple[int, int]:
    """The size with the given shorter side and the same aspect."""
    scale = shorter / min(height, width)
    return max(shorter, round(height * scale)), max(shorter, round(width * scale))


def resize_to(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images of another size, bicubic with antialiasing, in [0, 1]; as they are where they have that size."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)


def _bytes_of(targets: Mapping[str, Tensor]) -> int:
    return sum(target.numel() * target.element_size() for target in targets.values())


def _as_strengths(strength: float | Tensor, content: Tensor) -> Tensor:
    given = torch.as_tensor(strength, dtype=torch.float32, device=content.device)
    if given.ndim and given.shape != content.shape[:1]:
        raise RobustAugError(f"strength has shape {tuple(given.shape)} for {len(content)} images; give one for each")
    if not ((given >= 0) & (given <= 1)).all():  # NaN fails as well
        raise RobustAugError(f"strength {strength} is outside [0, 1]; 0 keeps the content, 1 takes the whole style")
    return given.expand(len(content))


def _check(content: Tensor, mask: Tensor | None) -> None:
    if content.ndim != 4 or content.shape[1] != 3:
        raise RobustAugError(f"content must be images of shape (N, 3, H, W), not {tuple(content.shape)}")
    if not content.is_floating_point() or (len(content) and not (content.amin() >= 0 and content.amax() <= 1)):
        raise RobustAugError("content must be float images with values in [0, 1]; divide 8-bit images by 255")
    if mask is not None:
        if mask.shape != (len(content), 1, *content.shape[2:]):
            raise RobustAugError(
                f"the mask has shape {tuple(mask.shape)}; give one of {(len(content), 1, *content.shape[2:])}"
            )
        if not mask.is_floating_point() or not ((mask >= 0) & (mask <= 1)).all():
            raise RobustAugError("the mask must be float with values in [0, 1]: 0 keeps the content, 1 takes the style")
