"""Style transfer in one pass through a network: adaptive instance normalisation.

Huang and Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", ICCV 2017. The
content's VGG features take on mean and deviation of the painting's, and a decoder makes them an image again.

Deviation: before that, the content's colours take on mean and covariance of the painting's. Deviations alone cannot
make a colour photo grey, nor a grey one coloured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.hardware import autocast, resolve_precision
from robustaug.style.bank import Blend, Painting
from robustaug.style.colour import colour_statistics, recoloured
from robustaug.style.decoder import Decoder, Statistics, load_decoder, statistics
from robustaug.style.method import StyleTransfer, TargetCache, scaled
from robustaug.style.settings import MAX_SIDE, check_size

# Shorter side of a painting against that of the image: sets the size of its strokes.
PAINTING_SCALE = 1.5
SMALLEST_SIDE = 64  # smaller images are worked on enlarged


@dataclass(frozen=True, eq=False)
class AdaIN(StyleTransfer):
    """AdaIN with this project's decoder.

    Statistics of a blend are the weighted mean of its paintings' (section 7.2 of the paper, for features). There is no
    objective to be minimised, and so there are no losses; :func:`~robustaug.style.gatys.measure` gives them.

    Attributes:
        decoder: a file of ``robustaug style-train``; None takes the embedded one.
    """

    decoder: Path | str | None = None

    name: ClassVar[str] = "adain"
    strengths: ClassVar[tuple[tuple[int, float], ...]] = ((48, 0.3), (MAX_SIDE, 1.0))
    pixels_at_once: ClassVar[dict[str, int]] = {"cpu": 2**17, "cuda": 2**22}

    def describe(self) -> dict[str, Any]:
        """As :class:`StyleTransfer` says."""
        return {
            "method": self.name,
            "color": self.color,
            "precision": str(resolve_precision(self.precision, self.device)).removeprefix("torch."),
            "encoder": self.encoder.fingerprint,
            "decoder": self.fingerprint,
            "sizes": [SMALLEST_SIDE, PAINTING_SCALE],
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the decoder's weights."""
        return sha256(b"".join(value.cpu().numpy().tobytes() for value in self._decoder.state_dict().values()))

    @property
    def has_decoder(self) -> bool:
        """Whether the decoder is there and was trained with this encoder."""
        try:
            return self._decoder is not None
        except RobustAugError:
            return False

    @cached_property
    def _decoder(self) -> Decoder:
        return load_decoder(self.decoder, encoder=self.encoder.fingerprint).to(self.device)

    def _working_size(self, height: int, width: int) -> tuple[int, int]:
        check_size(height, width)
        return (height, width) if min(height, width) >= SMALLEST_SIDE else scaled(height, width, SMALLEST_SIDE)

    def _transfer(
        self,
        work: Tensor,
        shape: tuple[int, int],  # noqa: ARG002 - Gatys needs it
        blends: Sequence[Blend],
        strength: Tensor,
        cache: TargetCache,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        decoder = self._decoder
        side = round(PAINTING_SCALE * min(work.shape[-2:]))
        targets = [self._mixed(blend, side, decoder, work[row : row + 1], cache) for row, blend in enumerate(blends)]
        style = [
            Statistics(*(torch.cat([target[i][j] for target in targets]) for j in range(2)))
            for i in range(len(decoder.layers))
        ]
        mean, covariance = (torch.cat([target[-1][j] for target in targets]) for j in range(2))
        work = recoloured(work, mean, covariance, strength[:, None, None].double())
        with torch.no_grad(), autocast(resolve_precision(self.precision, work.device), work.device):
            images = decoder(self.encoder(work, decoder.layers), style, strength)
        return images.float().clamp(0, 1), {}

    def _mixed(
        self, blend: Blend, side: int, decoder: Decoder, content: Tensor, cache: TargetCache
    ) -> list[tuple[Tensor, Tensor]]:
        """The statistics at each of the decoder's layers and of the colours: the weighted mean of the paintings'."""
        given = [self._targets(painting, side, decoder, content, cache) for painting in blend.paintings]
        columns = [[target[name] for target in given] for name in given[0]]
        means = [
            torch.stack([w * value for w, value in zip(blend.weights, column, strict=True)]).sum(0)
            for column in columns
        ]
        return list(zip(means[::2], means[1::2], strict=True))

    def _targets(
        self, painting: Painting, side: int, decoder: Decoder, content: Tensor, cache: TargetCache
    ) -> dict[str, Tensor]:
        """A painting's statistics, by layer and last of its colours; kept, unless it takes on the content's."""
        key = (painting.sha256, side, decoder.layers, self.color, self.precision, self.encoder.fingerprint,
               content.device)  # fmt: skip

        def make() -> dict[str, Tensor]:
            image = self._picture(painting, side, content.device, content)
            with torch.no_grad(), autocast(resolve_precision(self.precision, image.device), image.device):
                features = self.encoder(image, decoder.layers)
            found = [statistics(features[layer]) for layer in decoder.layers]
            names = [f"{layer} {what}" for layer in (*decoder.layers, "colour") for what in ("mean", "spread")]
            values = [value for pair in (*found, colour_statistics(image)) for value in pair]
            return dict(zip(names, values, strict=True))

        return make() if self.color == "statistics" else cache.get(key, make)
