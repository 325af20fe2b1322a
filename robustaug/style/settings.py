"""Which layers, sizes, weights and steps the transfer takes, by image size."""

from dataclasses import dataclass

from robustaug.errors import RobustAugError


@dataclass(frozen=True)
class StyleSettings:
    """Settings of one optimisation.

    Attributes:
        working_size: shorter side, in pixels, at which small images are worked on; larger images keep their size.
        painting_size: shorter side, in pixels, of the painting: its strokes' size against the image.
        content_layer: where the content loss looks; deeper layers hold less detail.
        style_layers: where the Gram matrices are taken.
        content_weight: weight of the content loss against the style loss (alpha / beta of equation 7).
        variation_weight: weight of the total variation.
        steps: steps of Adam.
        learning_rate: first step size in units of the pixel range [0, 1]; it falls to zero along a half cosine.
    """

    working_size: int
    painting_size: int
    content_layer: str
    style_layers: tuple[str, ...]
    content_weight: float
    variation_weight: float
    steps: int
    learning_rate: float

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers in use."""
        return tuple(dict.fromkeys((*self.style_layers, self.content_layer)))


MIN_SIDE, MAX_SIDE = 16, 1024

_SHALLOW = ("conv1_1", "conv2_1", "conv3_1")
_DEEP = ("conv1_1", "conv2_1", "conv3_1", "conv4_1")

# (largest shorter side in pixels, settings): chosen by looking, see docs/style.md.
SETTINGS: tuple[tuple[int, StyleSettings], ...] = (
    (48, StyleSettings(56, 96, "conv2_2", _SHALLOW, 0.7, 0.0, 24, 0.08)),
    (96, StyleSettings(96, 160, "conv3_1", _SHALLOW, 0.15, 0.5, 50, 0.05)),
    (160, StyleSettings(128, 192, "conv3_1", _DEEP, 0.12, 1.0, 80, 0.05)),
    (MAX_SIDE, StyleSettings(192, 256, "conv3_3", _DEEP, 0.08, 2.0, 150, 0.04)),
)


def settings_for(height: int, width: int) -> StyleSettings:
    """The settings of an image size.

    Raises:
        RobustAugError: a side below 16 or above 1024 px.
    """
    if min(height, width) < MIN_SIDE:
        raise RobustAugError(f"{width}x{height} px is too small for style transfer; at least {MIN_SIDE} px are needed")
    if max(height, width) > MAX_SIDE:
        raise RobustAugError(
            f"{width}x{height} px is too large for style transfer; make the image {MAX_SIDE} px or smaller first"
        )
    return next(settings for largest, settings in SETTINGS if min(height, width) <= largest)
