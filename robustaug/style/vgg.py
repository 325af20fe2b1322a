"""VGG encoders for style transfer: frozen, cut off at the deepest layer in use, normalisation inside.

Layer names are the paper's, ``conv1_1`` to ``conv5_4``, and always mean the output of the ReLU that follows that
convolution (as in the code that Gatys et al. released). The layout is that of torchvision's ``vgg16().features``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from robustaug.errors import RobustAugError
from robustaug.files import sha256

Architecture = Literal["vgg16", "vgg19"]
Pooling = Literal["max", "average"]
Normalisation = Literal["oxford", "imagenet"]

EMBEDDED_WEIGHTS = "vgg16_oxford_conv1_1-conv4_1_fp16.safetensors"
EMBEDDED_LAYERS = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv4_1")

_BLOCKS: dict[str, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_WIDTHS = (64, 128, 256, 512, 512)
# Oxford's networks saw RGB in [0, 255] minus the mean colour; torchvision's own trainings divide by a deviation.
_MEAN_STD: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "oxford": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclass(frozen=True)
class _Convolution:
    name: str
    index: int  # in torchvision's Sequential
    inputs: int
    outputs: int
    pool_before: bool


def _layout(architecture: str) -> tuple[_Convolution, ...]:
    if architecture not in _BLOCKS:
        raise RobustAugError(f"encoder {architecture!r} is unknown; use vgg16 or vgg19")
    convolutions, index, inputs = [], 0, 3
    for block, (count, width) in enumerate(zip(_BLOCKS[architecture], _WIDTHS, strict=True), 1):
        for number in range(1, count + 1):
            pool_before = block > 1 and number == 1
            convolutions.append(_Convolution(f"conv{block}_{number}", index, inputs, width, pool_before))
            inputs, index = width, index + 2
        index += 1
    return tuple(convolutions)


class VGGEncoder(nn.Module):
    """Features of VGG-16 or VGG-19 (Simonyan and Zisserman 2015) for images in [0, 1].

    Args:
        state: ``{"features.N.weight": ..., "features.N.bias": ...}`` in torchvision's layout, at least to ``deepest``.
        architecture: ``vgg16`` or ``vgg19``.
        deepest: the last layer kept; later ones are never built.
        normalisation: ``oxford`` (mean colour in [0, 255], no deviation) or ``imagenet``.
        pooling: ``max`` as trained, or ``average`` (Gatys et al. 2016, section 2, prefer it for synthesis).
        origin: where the weights came from, for error texts.

    Raises:
        RobustAugError: an unknown layer, or weights that are missing, misshapen or not finite.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        state: dict[str, Tensor],
        *,
        architecture: Architecture = "vgg16",
        deepest: str = "conv4_1",
        normalisation: Normalisation = "oxford",
        pooling: Pooling = "max",
        origin: str = "the weights",
    ) -> None:
        super().__init__()
        layout = _layout(architecture)
        names = [convolution.name for convolution in layout]
        if deepest not in names:
            raise RobustAugError(f"{architecture} has no layer {deepest!r}; use one of {', '.join(names)}")
        if pooling not in ("max", "average"):
            raise RobustAugError(f"pooling {pooling!r} is unknown; use max or average")
        if normalisation not in _MEAN_STD:
            raise RobustAugError(f"normalisation {normalisation!r} is unknown; use oxford or imagenet")
        self.architecture, self.pooling, self.normalisation = architecture, pooling, normalisation
        self.layout = layout[: names.index(deepest) + 1]
        self.layers = tuple(names[: len(self.layout)])
        mean, std = _MEAN_STD[normalisation]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.convolutions = nn.ModuleDict({c.name: _load(c, state, origin) for c in self.layout})
        self.fingerprint = self._fingerprint()
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """ReLU outputs of the named layers; nothing behind the deepest of them is computed.

        Args:
            images: (N, 3, H, W) in [0, 1].
            layers: names such as ``conv3_1``.

        Returns:
            One (N, C, h, w) tensor a layer, in the dtype that autocast gives.

        Raises:
            RobustAugError: a layer this encoder does not hold, or images too small for the deepest one.
        """
        wanted = set(layers)
        if unknown := sorted(wanted - set(self.layers)):
            raise RobustAugError(f"the encoder holds no layer {unknown[0]}; it has {', '.join(self.layers)}")
        depth = max((self.layers.index(name) for name in wanted), default=-1)
        minimum = self.minimum_size(self.layers[depth]) if wanted else 1
        if min(images.shape[-2:]) < minimum:
            raise RobustAugError(
                f"images of {images.shape[-2]}x{images.shape[-1]} pixels are too small for layer {self.layers[depth]}; "
                f"it needs {minimum} or more"
            )
        pool = F.max_pool2d if self.pooling == "max" else F.avg_pool2d
        found: dict[str, Tensor] = {}
        x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        for convolution in self.layout[: depth + 1]:
            if convolution.pool_before:
                x = pool(x, 2)
            x = F.relu(self.convolutions[convolution.name](x), inplace=True)
            if convolution.name in wanted:
                found[convolution.name] = x
        return found

    def _fingerprint(self) -> str:
        """SHA-256 of everything that a feature depends on."""
        tensors = [parameter.detach().numpy().tobytes() for parameter in self.parameters()]
        return sha256(
            b"".join([self.architecture.encode(), self.pooling.encode(), self.normalisation.encode(), *tensors])
        )

    @staticmethod
    def minimum_size(layer: str) -> int:
        """The smallest image side, in pixels, that leaves a layer one position: each block before it halves."""
        return int(2 ** (int(layer[4]) - 1))


def load_encoder(
    weights: str | Path = "embedded",
    *,
    architecture: Architecture = "vgg16",
    deepest: str = "conv4_1",
    normalisation: Normalisation | None = None,
    pooling: Pooling = "max",
) -> VGGEncoder:
    """Load an encoder.

    Args:
        weights: ``embedded`` (Oxford's VGG-16 to conv4_1, inside the package), ``torchvision`` (downloaded once by
            torchvision: for VGG-16 ``IMAGENET1K_FEATURES``, which are Oxford's; for VGG-19 ``IMAGENET1K_V1``), or a
            ``.safetensors``, ``.pth`` or ``.pt`` state dict in torchvision's layout.
        architecture: ``vgg16`` or ``vgg19``.
        deepest: the last layer to keep.
        normalisation: only for a file, and needed there, because the weights do not tell: ``oxford`` or ``imagenet``.
        pooling: ``max`` or ``average``.

    Raises:
        RobustAugError: weights that cannot be found, read, downloaded or used, or do not reach ``deepest``.
    """
    if weights == "embedded":
        if architecture != "vgg16":
            raise RobustAugError(f"no {architecture} weights are embedded; use vgg16, weights 'torchvision', or a file")
        if deepest not in EMBEDDED_LAYERS:
            raise RobustAugError(
                f"the embedded weights hold no layer {deepest!r}; use one of {', '.join(EMBEDDED_LAYERS)}, "
                "or weights 'torchvision' or a file"
            )
        with as_file(files("robustaug.style") / "assets" / EMBEDDED_WEIGHTS) as path:
            state = _read_state(path)
        normalisation = "oxford"
    elif weights == "torchvision":
        _layout(architecture)
        state = _download(architecture)
        normalisation = "oxford" if architecture == "vgg16" else "imagenet"
    else:
        state = _read_state(Path(weights))
        if normalisation is None:
            raise RobustAugError(
                f"{weights} does not say how its input is normalised; give normalisation 'oxford' "
                "(IMAGENET1K_FEATURES) or 'imagenet' (IMAGENET1K_V1)"
            )
    return VGGEncoder(
        state,
        architecture=architecture,
        deepest=deepest,
        normalisation=normalisation,
        pooling=pooling,
        origin=str(weights),
    )


def _load(convolution: _Convolution, state: dict[str, Tensor], origin: str) -> nn.Conv2d:
    module = nn.Conv2d(convolution.inputs, convolution.outputs, 3, padding=1)
    for name, parameter in module.named_parameters():
        key = f"features.{convolution.index}.{name}"
        value = state.get(key)
        if value is None:
            raise RobustAugError(
                f"{origin} holds no {key} (layer {convolution.name}); use a shallower layer or other weights"
            )
        if value.shape != parameter.shape:
            raise RobustAugError(
                f"{origin}: {key} is {tuple(value.shape)}, not {tuple(parameter.shape)}; use VGG weights"
            )
        if not value.isfinite().all():
            raise RobustAugError(f"{origin}: {key} holds NaN or infinity; the file is damaged, fetch it again")
        parameter.data.copy_(value)
    return module


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise RobustAugError(f"there is no weights file {path}; give 'embedded', 'torchvision' or an existing file")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise RobustAugError(f"cannot read weights from {path}: {_first_line(error)}") from error
    except Exception as error:  # pickle.UnpicklingError and whatever else a foreign file makes torch.load raise
        raise RobustAugError(f"{path} is not a plain state dict: {_first_line(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise RobustAugError(f"{path} is not a plain state dict; save one with torch.save(model.state_dict(), ...)")
    return state


def _download(architecture: Architecture) -> dict[str, Tensor]:
    from torchvision.models import VGG16_Weights, VGG19_Weights  # noqa: PLC0415 - slow import, needed here only

    weights = VGG16_Weights.IMAGENET1K_FEATURES if architecture == "vgg16" else VGG19_Weights.IMAGENET1K_V1
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a bad checksum is a RuntimeError
        raise RobustAugError(
            f"cannot download {architecture} weights ({_first_line(error)}); use weights 'embedded' or a file"
        ) from error
    return state


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
