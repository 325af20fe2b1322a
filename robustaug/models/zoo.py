"""Classifiers by name."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torchvision
from torch import nn

from robustaug.errors import RobustAugError
from robustaug.models.classifier import ImageClassifier, ModelSpec
from robustaug.models.networks import PreActResNet18, WideResNet8, small_cnn
from robustaug.randomness import derive_seed

_OWN_OPTIONS = dict.fromkeys(("small_cnn", "wide_resnet8", "preact_resnet18"), ("width",))
_PREFIX = "torchvision:"
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Their published weights expect inputs in [-1, 1] and hold auxiliary heads that only training from nothing needs.
_INCEPTIONS = ("googlenet", "inception_v3")


def model_names() -> list[str]:
    """Every name that ``build_model`` takes."""
    classifiers = torchvision.models.list_models(module=torchvision.models)
    return [*_OWN_OPTIONS, *(_PREFIX + name for name in classifiers)]


def build_model(
    name: str,
    num_classes: int,
    image_size: tuple[int, int],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    *,
    seed: int = 0,
    **options: Any,
) -> ImageClassifier:
    """Build a classifier, on the CPU and in training mode.

    The initial weights depend on ``seed`` alone; the global random state is not touched.

    Args:
        name: ``small_cnn``, ``wide_resnet8``, ``preact_resnet18``, or ``torchvision:NAME`` for any classifier of
            torchvision.
        num_classes: number of logits, at least 2.
        image_size: (H, W) of the images.
        mean: one value a channel; by default 0.5, or ImageNet's for torchvision's models.
        std: one value a channel; by default 0.5, or ImageNet's for torchvision's models.
        seed: seed of the initial weights.
        **options: ``width`` for the first three; ``weights`` for torchvision's, passed through (torchvision downloads
            them once), with a new head in place of the 1000 ImageNet classes.

    Raises:
        RobustAugError: unknown name or option, or a size that the model cannot take.
    """
    if num_classes < 2:
        raise RobustAugError(f"{name}: a classifier needs at least 2 classes, not {num_classes}")
    known = model_names()
    if name not in known:
        raise RobustAugError(f"model {name!r} is unknown{_nearest(name, known)}")
    allowed = _OWN_OPTIONS.get(name, ("weights",))
    for option in options:
        if option not in allowed:
            raise RobustAugError(f"model {name}: option {option!r} is unknown{_nearest(option, allowed)}")
    with torch.random.fork_rng(devices=[]):
        # Only the CPU's generator: torch.manual_seed would also reseed the accelerators.
        torch.default_generator.manual_seed(derive_seed(seed, "weights"))
        match name:
            case "small_cnn":
                backbone: nn.Module = small_cnn(num_classes, image_size, **options)
            case "wide_resnet8":
                backbone = WideResNet8(num_classes, image_size, **options)
            case "preact_resnet18":
                backbone = PreActResNet18(num_classes, **options)
            case _:
                backbone = _torchvision_backbone(name, num_classes, image_size, options.get("weights"))
    default_mean, default_std = (0.5,) * 3, (0.5,) * 3
    if name.startswith(_PREFIX) and name.removeprefix(_PREFIX) not in _INCEPTIONS:
        default_mean, default_std = _IMAGENET_MEAN, _IMAGENET_STD
    # A saved model brings its own weights: to build it again must not download the ones it once started from.
    rebuild = {option: value for option, value in options.items() if option != "weights"}
    spec = ModelSpec(name, num_classes, (int(image_size[0]), int(image_size[1])), rebuild)
    return ImageClassifier(backbone, mean or default_mean, std or default_std, spec)


def _torchvision_backbone(full_name: str, num_classes: int, image_size: tuple[int, int], weights: Any) -> nn.Module:
    name = full_name.removeprefix(_PREFIX)
    settings: dict[str, Any] = {}
    if name in _INCEPTIONS:
        settings |= {"transform_input": False}
        if weights is None:
            settings |= {"aux_logits": False, "init_weights": True}
    # Their position tables belong to one image size; published weights fix it.
    if name.startswith("vit_") and weights is None:
        settings |= {"image_size": image_size[0]}
    if name.startswith("maxvit_") and weights is None:
        settings |= {"input_size": image_size}
    try:
        model: nn.Module = torchvision.models.get_model(name, weights=weights, **settings)
        if name == "inception_v3" and weights is not None:  # its published weights insist on the auxiliary head
            for part, nothing in (("aux_logits", False), ("AuxLogits", None)):
                setattr(model, part, nothing)
        _replace_head(model, num_classes)
        _probe(model, image_size)
    except Exception as error:  # whatever torchvision and its downloads raise, the user gets one line
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        height, width = image_size
        raise RobustAugError(
            f"model {full_name} cannot be built for {height}x{width} images: {reason}; choose another size or model"
        ) from error
    return model


def _replace_head(model: nn.Module, num_classes: int) -> None:
    """Put a fresh layer with ``num_classes`` outputs where the model's last layer is."""
    path, head = [(p, m) for p, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    if isinstance(head, nn.Linear):
        fresh: nn.Module = nn.Linear(head.in_features, num_classes)
    else:  # SqueezeNet classifies with a 1x1 convolution
        fresh = nn.Conv2d(head.in_channels, num_classes, kernel_size=1)
    parent, _, last = path.rpartition(".")
    setattr(model.get_submodule(parent), last, fresh)


def _probe(model: nn.Module, image_size: tuple[int, int]) -> None:
    """Run one image: a network that cannot take this size says so here, not in the middle of a job."""
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, 3, *image_size))
    model.train()


def _nearest(word: str, known: Iterable[str]) -> str:
    by_name = {name.removeprefix(_PREFIX): name for name in known}
    found = difflib.get_close_matches(word.removeprefix(_PREFIX), by_name, n=1, cutoff=0.5)
    if found:
        return f"; did you mean {by_name[found[0]]!r}?"
    return f"; known are {', '.join([*by_name.values()][:4])}{', ...' if len(by_name) > 4 else ''}"
