"""The stylised variants of a run: of training images to learn from, of test images to measure on."""

from pathlib import Path
from typing import Literal

from robustaug.data import ImageSet, VariantSet, load_variants
from robustaug.errors import RobustAugError
from robustaug.evaluation.harness import stratified_choice
from robustaug.experiment.config import StyleSection
from robustaug.hardware import default_device
from robustaug.style.adain import AdaIN
from robustaug.style.bank import StyleBank
from robustaug.style.gatys import Gatys
from robustaug.style.job import JobSettings, items_of, stylize
from robustaug.style.method import Color
from robustaug.style.random_style import RandomStyle
from robustaug.style.settings import MIN_SIDE
from robustaug.style.vgg import load_encoder

Method = Literal["gatys", "adain"]
METHODS: dict[Method, type[Gatys] | type[AdaIN]] = {"gatys": Gatys, "adain": AdaIN}


def paintings_of(settings: StyleSection, seed: int) -> tuple[StyleBank, StyleBank]:
    """The paintings for training and the held-out ones.

    Raises:
        RobustAugError: an unusable folder, or too few paintings.
    """
    bank = StyleBank.embedded() if settings.paintings is None else StyleBank.from_folder(Path(settings.paintings))
    return bank.split(settings.held_out, seed)


def make_variants(
    folder: Path, originals: ImageSet, count: int, bank: StyleBank, settings: StyleSection, seed: int
) -> VariantSet:
    """Make about ``count`` stylised variants of a stratified choice of images, or find them done.

    More variants than images means several of each image, at most one for each painting.

    Raises:
        RobustAugError: images too small, or a folder that cannot be written or holds something else.
    """
    chosen = originals.select(stratified_choice(originals.labels, count, seed).sort().values)
    per_image = min(max(1, count // len(originals)), len(bank))
    job = JobSettings(per_image=per_image, seed=seed, strength=settings.strength)
    return stylised(folder, chosen, bank, settings.method, job, _color(settings))


def stylised(
    folder: Path, images: ImageSet, bank: StyleBank, method: Method, job: JobSettings, color: Color = "painting"
) -> VariantSet:
    """Make stylised variants of all of these images, or find them done.

    Raises:
        RobustAugError: as ``make_variants``.
    """
    _check_size(images)
    style = METHODS[method](encoder=load_encoder().to(default_device()), color=color)
    result = stylize(items_of(images), folder, bank, style, job)
    if result.skipped:
        first = result.skipped[0]
        raise RobustAugError(
            f"{len(result.skipped)} images cannot be stylised, the first is {first.path}: {first.reason}"
        )
    return load_variants(folder, images)


def style_in_loop(originals: ImageSet, bank: StyleBank, settings: StyleSection) -> RandomStyle:
    """What restyles training images when they are used: AdaIN, each time with a painting of the bank drawn anew.

    Raises:
        RobustAugError: images too small.
    """
    _check_size(originals)
    height, width = originals.images.shape[2:]
    strength = settings.loop_strength
    if strength is None:
        strength = AdaIN.default_strength(height, width)
    style = AdaIN(encoder=load_encoder().to(default_device()), color=_color(settings))
    return RandomStyle(bank, 1.0, (strength, strength), method=style)


def _check_size(images: ImageSet) -> None:
    height, width = images.images.shape[2:]
    if min(height, width) < MIN_SIDE:
        raise RobustAugError(f"style transfer needs {MIN_SIDE} px, images are {height}x{width}; set data.size higher")


def _color(settings: StyleSection) -> Color:
    return "luminance" if settings.preserve_color else "painting"
