"""The decoder of AdaIN: from VGG features, whose statistics were changed, back to an image.

Huang and Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", ICCV 2017, section 6.
"""

import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from robustaug.errors import RobustAugError
from robustaug.files import write_bytes

Level = str
EMBEDDED_DECODER = "adain_conv3_1_fp16.safetensors"
DEEPEST = ("conv3_1", "conv4_1")
LEVELS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1")
_CHANNELS = {"conv1_1": 64, "conv2_1": 128, "conv3_1": 256, "conv4_1": 512}
_LAST_WIDTH = 32
_KEY = "robustaug_decoder"


class Statistics(NamedTuple):
    """Mean and standard deviation of each feature channel over all positions, float32, (N, C, 1, 1) each."""

    mean: Tensor
    std: Tensor


def statistics(features: Tensor) -> Statistics:
    """Equations 5 and 6 of the paper, of features (N, C, h, w) of any float dtype."""
    variance, mean = torch.var_mean(features.float(), dim=(2, 3), keepdim=True, correction=0)
    return Statistics(mean, (variance + 1e-5).sqrt())


def adain(features: Tensor, style: Statistics, strength: Tensor) -> Tensor:
    """Equation 8, and 14: features with the style's statistics, mixed with themselves.

    Args:
        features: f(c), (N, C, h, w).
        style: of f(s).
        strength: the paper's alpha, (N,): 0 keeps the features, 1 takes the style's statistics.

    Returns:
        (N, C, h, w), in the dtype of ``features``.
    """
    own, share = statistics(features), strength.view(-1, 1, 1, 1)
    scale = torch.lerp(torch.ones_like(own.std), style.std / own.std, share)
    shift = share * (style.mean - own.mean * (style.std / own.std))
    return torch.addcmul(shift.to(features.dtype), features, scale.to(features.dtype))


class Decoder(nn.Module):
    """Image from features of the encoder's first convolutions in each block, ``conv1_1`` up to ``level``.

    Deviations from the paper, for content that survives on small images: the features of every block take part, each
    with the painting's statistics at that block, where the paper has the deepest alone; VGG-16 in place of VGG-19; at
    most two convolutions a block, and the last ones narrower; and a fixed pattern of noise is added to the features, in
    proportion to the painting's deviation, from which strokes grow where the content is flat. Reflection padding and
    nearest-neighbour enlargement are the paper's.

    Args:
        level: the deepest layer: ``conv3_1`` or ``conv4_1``, for small and large images.

    Raises:
        RobustAugError: an unknown level.
    """

    scale: Tensor  # typical size of each layer's features, which differ by orders of magnitude

    def __init__(self, level: Level = "conv3_1") -> None:
        super().__init__()
        if level not in DEEPEST:
            raise RobustAugError(f"a decoder cannot start at {level!r}; use one of {', '.join(DEEPEST)}")
        self.level = level
        self.layers = LEVELS[: LEVELS.index(level) + 1]
        widths = [_LAST_WIDTH, *(_CHANNELS[layer] for layer in self.layers)]
        self.blocks = nn.ModuleList(
            _block(width, narrower, convolutions=1 if i == 0 else 2)  # one where the pixels are most
            for i, (narrower, width) in enumerate(itertools.pairwise(widths))
        )
        self.last = _convolution(_LAST_WIDTH, 3)
        self.noise = nn.ParameterList(nn.Parameter(torch.full((1, _CHANNELS[each], 1, 1), 0.1)) for each in self.layers)
        self.register_buffer("scale", torch.ones(len(self.layers)))
        self.to(memory_format=torch.channels_last)

    def forward(self, features: Mapping[str, Tensor], style: Sequence[Statistics], strength: Tensor) -> Tensor:
        """Images, (N, 3, H, W), meant for [0, 1] but not cut to it.

        Args:
            features: of ``layers``, (N, C, h, w) each.
            style: statistics of the same layers of the paintings.
            strength: (N,), 0 to 1.
        """
        x: Tensor | None = None
        for i in reversed(range(len(self.layers))):
            skip = adain(features[self.layers[i]], style[i], strength)
            noise = _pattern(skip.shape[2], skip.shape[3]).to(skip)
            weight = self.noise[i] * style[i].std * strength.view(-1, 1, 1, 1)
            skip = torch.addcmul(skip, weight.to(skip.dtype), noise) / self.scale[i]
            if x is not None:
                x = skip + F.interpolate(x, skip.shape[-2:], mode="nearest")
            x = self.blocks[i](skip if x is None else x)
        images: Tensor = self.last(x)
        return images


@functools.lru_cache(maxsize=64)
def _pattern(height: int, width: int) -> Tensor:
    """The same noise for every image, (1, 1, height, width), so that results repeat and do not depend on the batch."""
    return torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(0))


def _block(inputs: int, outputs: int, convolutions: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for i in range(convolutions):
        parts += [_convolution(outputs if i else inputs, outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")


def save_decoder(decoder: Decoder, path: Path, *, encoder: str) -> None:
    """Write a decoder in float16, atomically.

    Args:
        decoder: what to write.
        path: a ``.safetensors`` file.
        encoder: fingerprint of the encoder that it was trained with.

    Raises:
        RobustAugError: the file cannot be written.
    """
    state = {name: value.detach().cpu().half().contiguous() for name, value in decoder.state_dict().items()}
    about = json.dumps({"level": decoder.level, "encoder": encoder})  # one entry: several come in any order
    write_bytes(path, save(state, metadata={_KEY: about}))


def load_decoder(source: Path | str | None = None, *, encoder: str | None = None) -> Decoder:
    """Read a decoder.

    Args:
        source: a file of :func:`save_decoder`; None takes the embedded one.
        encoder: fingerprint of the encoder that will be used with it.

    Raises:
        RobustAugError: a file that is missing, damaged, no decoder, or was trained with another encoder.
    """
    if source is None:
        with as_file(files("robustaug.style") / "assets" / EMBEDDED_DECODER) as path:
            return load_decoder(path, encoder=encoder)
    path = Path(source)
    if not path.is_file():
        raise RobustAugError(f"there is no decoder {path}; train one with robustaug style-train")
    try:
        with safe_open(path, framework="pt") as content:
            about = json.loads((content.metadata() or {}).get(_KEY, "{}"))
            state = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - not a dictionary
        if "level" not in about:
            raise RobustAugError(f"{path} is no decoder of this program; train one with robustaug style-train")
        decoder = Decoder(about["level"])
        decoder.load_state_dict({name: value.float() for name, value in state.items()})
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, RobustAugError):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RobustAugError(f"cannot read the decoder {path}: {reason}; fetch or train it again") from error
    if encoder is not None and about.get("encoder") != encoder:
        raise RobustAugError(f"the decoder {path} was trained with another encoder; use that one, or train another")
    return decoder.eval().requires_grad_(False)
