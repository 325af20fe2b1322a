"""Which layers, sizes, weights and steps the transfer takes, by image size."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from robustaug.errors import RobustAugError

OptimizerName = Literal["adam", "lbfgs"]
StartName = Literal["content", "adain"]


@dataclass(frozen=True)
class StyleSettings:
    """Settings of one optimisation.

    Attributes:
        working_size: shorter side, in pixels, at which small images are worked on; larger images keep their size.
        painting_size: shorter side, in pixels, of the painting: its strokes' size against the image.
        content_layers: where the content loss looks; deeper layers hold less detail.
        style_layers: where the Gram matrices are taken.
        content_weight: weight of the content loss against the style loss (alpha / beta of equation 7).
        variation_weight: weight of the total variation.
        steps: steps at full size, at most.
        learning_rate: in units of the pixel range [0, 1]: Adam's first step size, which falls to zero along a half
            cosine; the root mean square of L-BFGS's longest step.
        start: ``"content"``, or ``"adain"``: what AdaIN makes of it, where the package's decoder fits the encoder.
        coarse_steps: from the content, steps at half the size before them, image and painting alike; 0 takes none.
        tolerance: an image is done when ten steps have lowered its loss by no more than this share of it; 0 takes all
            steps.
        optimizer: ``"adam"``, or ``"lbfgs"`` as in the paper, with a step size of its own for each image.
        content_layer_weights: one for each content layer, brought to a sum of 1; none for equal ones.
        style_layer_weights: one for each style layer (w_l of equation 5), brought to a sum of 1; none for equal ones.

    Raises:
        RobustAugError: no layers, one of them twice, or a number outside its range.
    """

    working_size: int
    painting_size: int
    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    content_weight: float
    variation_weight: float
    steps: int
    learning_rate: float
    start: StartName = "content"
    coarse_steps: int = 0
    tolerance: float = 0.0
    optimizer: OptimizerName = "adam"
    content_layer_weights: tuple[float, ...] = ()
    style_layer_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for kind in ("content", "style"):
            _check_layers(kind, getattr(self, f"{kind}_layers"), getattr(self, f"{kind}_layer_weights"))
        for name, lowest in (("working_size", 16), ("painting_size", 16), ("steps", 0), ("coarse_steps", 0)):
            if getattr(self, name) < lowest:
                raise RobustAugError(f"{name} is {getattr(self, name)}; it must be at least {lowest}")
        for name in ("content_weight", "variation_weight", "learning_rate", "tolerance"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise RobustAugError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if self.optimizer not in get_args(OptimizerName):
            raise RobustAugError(f"optimizer {self.optimizer!r} is unknown; use {' or '.join(get_args(OptimizerName))}")
        if self.start not in get_args(StartName):
            raise RobustAugError(f"start {self.start!r} is unknown; use {' or '.join(get_args(StartName))}")

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers in use."""
        return tuple(dict.fromkeys((*self.style_layers, *self.content_layers)))

    @property
    def content_shares(self) -> dict[str, float]:
        """What each content layer counts; the sum is 1."""
        return _shares(self.content_layers, self.content_layer_weights)

    @property
    def style_shares(self) -> dict[str, float]:
        """What each style layer counts; the sum is 1."""
        return _shares(self.style_layers, self.style_layer_weights)


def _check_layers(kind: str, layers: tuple[str, ...], weights: tuple[float, ...]) -> None:
    if not isinstance(layers, tuple) or not layers or len(set(layers)) < len(layers):
        raise RobustAugError(f"{kind}_layers are {layers!r}; give at least one layer, each once, as ('conv3_1',)")
    if weights and len(weights) != len(layers):
        raise RobustAugError(f"{len(weights)} {kind}_layer_weights for {len(layers)} layers; give each one, or none")
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise RobustAugError(f"{kind}_layer_weights are {weights}; all must be above 0")


def _shares(layers: tuple[str, ...], weights: tuple[float, ...]) -> dict[str, float]:
    weights = weights or (1.0,) * len(layers)
    return {layer: weight / math.fsum(weights) for layer, weight in zip(layers, weights, strict=True)}


MIN_SIDE, MAX_SIDE = 16, 1024


def _settings(
    working_size: int, painting_size: int, content_layer: str, style_layers: tuple[str, ...], **others: Any
) -> StyleSettings:
    how: dict[str, Any] = {"learning_rate": 0.1, "optimizer": "lbfgs", "tolerance": 0.02, "start": "adain"}
    return StyleSettings(working_size, painting_size, (content_layer,), style_layers, **how, **others)


_SHALLOW = ("conv1_1", "conv2_1", "conv3_1")
_DEEP = ("conv1_1", "conv2_1", "conv3_1", "conv4_1")

# (largest shorter side in pixels, settings). Sizes, layers and weights were chosen by looking, see docs/style.md.
SETTINGS: tuple[tuple[int, StyleSettings], ...] = (
    (48, _settings(56, 96, "conv2_2", _SHALLOW, content_weight=0.35, variation_weight=0.0, steps=12, coarse_steps=8)),
    (96, _settings(96, 160, "conv3_1", _SHALLOW, content_weight=0.15, variation_weight=0.5, steps=16, coarse_steps=12)),
    (160, _settings(128, 192, "conv3_1", _DEEP, content_weight=0.12, variation_weight=1.0, steps=26, coarse_steps=12)),
    (
        MAX_SIDE,
        _settings(192, 256, "conv3_3", _DEEP, content_weight=0.08, variation_weight=2.0, steps=36, coarse_steps=16),
    ),
)


def settings_for(height: int, width: int) -> StyleSettings:
    """The settings of an image size.

    Raises:
        RobustAugError: see :func:`check_size`.
    """
    check_size(height, width)
    return next(settings for largest, settings in SETTINGS if min(height, width) <= largest)


def check_size(height: int, width: int) -> None:
    """Refuse images that no method takes.

    Raises:
        RobustAugError: a side below 16 or above 1024 px.
    """
    if min(height, width) < MIN_SIDE:
        raise RobustAugError(f"{width}x{height} px is too small for style transfer; at least {MIN_SIDE} px are needed")
    if max(height, width) > MAX_SIDE:
        raise RobustAugError(
            f"{width}x{height} px is too large for style transfer; make the image {MAX_SIDE} px or smaller first"
        )
