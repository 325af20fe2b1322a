"""Test images in styles that training does not know, made once for all arms; and images whose cues conflict."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from robustaug.data import ImageSet, VariantSet
from robustaug.data.jobs import MANIFEST
from robustaug.evaluation.harness import stratified_choice
from robustaug.evaluation.protocol import STYLE_STRENGTHS, Protocol
from robustaug.evaluation.shape_bias import CueConflicts
from robustaug.experiment.config import StyleSection
from robustaug.experiment.variants import Method, make_variants, stylised
from robustaug.files import sha256
from robustaug.style.bank import Painting, StyleBank
from robustaug.style.job import JobSettings


@dataclass(frozen=True)
class Restyled:
    """Test images restyled with paintings that training never saw.

    Attributes:
        images: The stylised images under their sources' labels and keys.
        styles: SHA-256 of the painting of each.
        paintings: The paintings.
    """

    images: ImageSet
    styles: tuple[str, ...]
    paintings: tuple[Painting, ...]


@dataclass(frozen=True)
class StyledTest:
    """All restyled test images of an evaluation.

    Attributes:
        unseen: One painting each.
        by_strength: Some of them by strength, each with its painting; empty where the protocol has no such samples.
        conflicts: The content of one class in the style of another; None where the protocol has no such samples, or
            all images are of one class.
    """

    unseen: Restyled
    by_strength: Mapping[float, ImageSet]
    conflicts: CueConflicts | None


def styled_test(
    folder: Path,
    test: ImageSet,
    protocol: Protocol,
    bank: StyleBank,
    settings: StyleSection,
    seed: int,
    say: Callable[[str], None] | None = None,
) -> StyledTest:
    """Restyle as many test images as the protocol wants, or find them done.

    Args:
        folder: Where the folders of the variants are.
        test: The test split.
        protocol: How many images.
        bank: Paintings that training never saw.
        settings: Method and colours of the unseen styles, and their strength where the protocol sets none.
        seed: Of the choice of images and styles.
        say: Told what is being made.

    Raises:
        RobustAugError: as ``make_variants``.
    """

    def told(path: Path, text: str) -> Path:
        if say is not None and not (path / MANIFEST).exists():
            say(text)
        return path

    count, few = (min(n, len(test)) for n in (protocol.unseen_style_samples, protocol.style_strength_samples))
    path = told(folder / "test", f"Stylising {count} test images with {len(bank)} other paintings")
    unseen = restyle(path, test, count, bank, settings, seed)
    by_strength = {}
    for strength in STYLE_STRENGTHS if few else ():
        path = told(folder / f"test-strength-{strength:g}", f"Stylising {few} test images at strength {strength:g}")
        at = settings.model_copy(update={"strength": strength})
        by_strength[strength] = restyle(path, test, few, bank, at, seed).images
    conflicts = None
    if protocol.conflict_samples and len(set(test.labels.tolist())) > 1:
        path = told(folder / "conflicts", "Making images with the content of one class and the style of another")
        conflicts = cue_conflicts(path, test, protocol.conflict_samples, protocol.conflict_method, seed)
    return StyledTest(unseen, by_strength, conflicts)


def restyle(folder: Path, test: ImageSet, count: int, bank: StyleBank, settings: StyleSection, seed: int) -> Restyled:
    """Restyle ``count`` test images, one painting each.

    Raises:
        RobustAugError: as ``make_variants``.
    """
    made = make_variants(folder, test, min(count, len(test)), bank, settings, seed)
    styles = tuple(str(parameters["style_sha256"]) for parameters in made.parameters)
    return Restyled(_as_images(made, test), styles, bank.paintings)


def cue_conflicts(folder: Path, test: ImageSet, count: int, method: Method, seed: int) -> CueConflicts:
    """Give ``count`` test images, each class in its share, the whole style of another of them, of another class.

    Which one depends on the image's key, the seed and the chosen images alone, on no classifier. Colours are the
    style's, strength is 1: as in the paper.

    Args:
        folder: Where they are kept.
        test: The test split, of at least two classes.
        count: How many; at most all.
        method: The style transfer.
        seed: Of the choices.

    Raises:
        RobustAugError: as ``make_variants``.
    """
    chosen = test.select(stratified_choice(test.labels, count, seed).sort().values)
    bank = StyleBank.from_images(chosen, other_class=True)
    made = stylised(folder, chosen, bank, method, JobSettings(seed=seed, strength=1.0))
    row_of = {key: row for row, key in enumerate(test.keys)}
    source_of = {painting.sha256: row_of[min(painting.keys)] for painting in bank.paintings}
    return CueConflicts(
        images=_as_images(made, test),
        contents=torch.tensor([row_of[key] for key in made.sources]),
        styles=torch.tensor([source_of[str(parameters["style_sha256"])] for parameters in made.parameters]),
        method=method,
    )


def _as_images(made: VariantSet, test: ImageSet) -> ImageSet:
    hashes = tuple(sha256(image.numpy().tobytes()) for image in made.images)
    return ImageSet(made.images, made.labels, made.sources, hashes, test.class_names)
