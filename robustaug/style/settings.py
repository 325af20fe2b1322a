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


SETTINGS: tuple[tuple[int, StyleSettings], ...] = (
    (48, StyleSettings(64, 96, "conv2_2", ("conv1_1", "conv2_1", "conv3_1"), 0.3, 0.0, 40, 0.05)),
    (96, StyleSettings(128, 160, "conv3_1", ("conv1_1", "conv2_1", "conv3_1"), 0.3, 0.0, 60, 0.05)),
    (1024, StyleSettings(192, 256, "conv3_3", ("conv1_1", "conv2_1", "conv3_1", "conv4_1"), 0.3, 0.0, 150, 0.04)),
)


def settings_for(height: int, width: int) -> StyleSettings:
    """The settings of an image size.

    Raises:
        RobustAugError: the size is outside the range that works.
    """
    if min(height, width) < 16:
        raise RobustAugError(f"images of {height}x{width} pixels are too small for style transfer; it needs 16 or more")
    for largest, settings in SETTINGS:
        if min(height, width) <= largest:
            return settings
    raise RobustAugError(
        f"images of {height}x{width} pixels are too large for style transfer; resize them to 1024 or less"
    )
