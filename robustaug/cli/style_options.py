"""What the words of ``robustaug stylize`` stand for."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from robustaug.data.content import Item
from robustaug.errors import RobustAugError
from robustaug.experiment.config import parse_setting
from robustaug.experiment.preservation import judge
from robustaug.files import sha256
from robustaug.hardware import default_device
from robustaug.models import load_checkpoint
from robustaug.style.bank import StyleBank
from robustaug.style.gatys import Gatys
from robustaug.style.job import LabelCheck
from robustaug.style.method import StyleTransfer
from robustaug.style.own_styles import own_styles
from robustaug.style.settings import StyleSettings, settings_for
from robustaug.style.vgg import EMBEDDED_LAYERS, load_encoder


def range_of(option: str, text: str) -> tuple[float, float]:
    """Two numbers of ``LOW:HIGH``, or one number twice.

    Raises:
        RobustAugError: the text is neither.
    """
    low, _, high = text.partition(":")
    try:
        return float(low), float(high or low)
    except ValueError:
        raise RobustAugError(f"{option} {text!r} is neither a number nor LOW:HIGH, for example 0.3:1") from None


def size_of(text: str) -> dict[str, int]:
    """The settings that ``keep``, ``PX`` or ``longest:PX`` asks for.

    Raises:
        RobustAugError: the text is none of these, or the size is out of range.
    """
    match = re.fullmatch(r"(longest:)?(\d+)", text)
    if text == "keep":
        return {}
    if match is None:
        raise RobustAugError(f"--size {text!r} is not keep, PX or longest:PX, for example 64")
    if not 16 <= int(match[2]) <= 1024:
        raise RobustAugError(f"--size {text} is outside 16 to 1024")
    return {"longest" if match[1] else "size": int(match[2])}


def bank_of(styles: str | None, items: Sequence[Item], seed: int) -> StyleBank:
    """The embedded paintings, textures, images of the content itself, or a folder's pictures.

    Raises:
        RobustAugError: they cannot be used.
    """
    match styles:
        case None:
            return StyleBank.embedded()
        case "textures":
            return StyleBank.textures()
        case "own" | "other-class":
            return own_styles(items, other_class=styles == "other-class", seed=seed)
    return StyleBank.from_folder(Path(styles))


def method_of(
    method: str,
    *,
    color: Any,
    encoder: Any,
    weights: str | None,
    normalisation: Any,
    decoder: Path | None,
    size: int | None,
    changes: Iterable[str],
) -> StyleTransfer:
    """The style transfer, with its encoder on the default device.

    Raises:
        RobustAugError: weights that cannot be used, settings that do not exist or do not belong to the method.
    """
    settings = _changed(size, changes)
    if method == "gatys" and decoder is not None:
        raise RobustAugError("--decoder goes with --method adain")
    if method == "adain" and settings is not None:
        raise RobustAugError("--set goes with --method gatys; adain has no such settings")
    origin = weights or ("embedded" if encoder == "vgg16" else "torchvision")
    deepest = EMBEDDED_LAYERS[-1] if settings is None else max((EMBEDDED_LAYERS[-1], *settings.layers))
    network = load_encoder(origin, architecture=encoder, deepest=deepest, normalisation=normalisation)
    network = network.to(default_device())
    if method == "gatys":
        return Gatys(encoder=network, color=color, settings=settings)
    from robustaug.style.adain import AdaIN  # noqa: PLC0415 - its decoders are read only when they are needed

    return AdaIN(encoder=network, color=color, decoder=decoder)


def check_of(above: float | None, classifier: Path | None) -> LabelCheck | None:
    """What drops the variants that a classifier no longer gives their label.

    Raises:
        RobustAugError: one without the other, no probability, or no classifier.
    """
    if above is None and classifier is None:
        return None
    if above is None or classifier is None:
        raise RobustAugError("--keep-label-above and --classifier go together; give both or neither")
    if not 0 <= above < 1:
        raise RobustAugError(f"--keep-label-above {above} is outside [0, 1)")
    checkpoint = load_checkpoint(classifier)
    return LabelCheck(judge(checkpoint), above, sha256(classifier.read_bytes()))


def _changed(size: int | None, changes: Iterable[str]) -> StyleSettings | None:
    """The settings of an image size with some of them changed; None without changes."""
    given = dict(parse_setting(text, "steps=80") for text in changes)
    if not given:
        return None
    if size is None:
        raise RobustAugError("--set needs a fixed --size PX, because the other settings go by the image size")
    known = {field.name: field.type for field in fields(StyleSettings)}
    if unknown := sorted(set(given) - set(known)):
        raise RobustAugError(f"--set {unknown[0]}: there is no such setting; use one of {', '.join(known)}")
    settings = settings_for(size, size)
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    for key, value in values.items():
        wanted = type(getattr(settings, key))
        if not (isinstance(value, wanted) or (wanted is float and isinstance(value, int))):
            raise RobustAugError(f"--set {key}={value}: this setting is of type {wanted.__name__}")
    return replace(settings, **values)
