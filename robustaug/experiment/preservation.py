"""How strong a style may be before images lose their labels, judged by a classifier that knows the originals alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from robustaug.attacks.oracle import undisturbed
from robustaug.data import ImageSet, load_variants
from robustaug.data.content import items_of
from robustaug.data.decode import fit
from robustaug.errors import RobustAugError
from robustaug.evaluation.report.chart_style import percent_axis
from robustaug.evaluation.report.wording import percent
from robustaug.evaluation.statistics import Accuracy, accuracy_interval
from robustaug.files import writing
from robustaug.hardware import default_device
from robustaug.look import INK, MUTED, chart_style
from robustaug.models import Checkpoint
from robustaug.style.bank import StyleBank
from robustaug.style.job import JobSettings, stylize
from robustaug.style.method import StyleTransfer

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)

_BATCH = 32

# Images uint8 (N, 3, H, W) and the names of their classes in, the probability of those classes out, float32 (N,).
Judge = Callable[[Tensor, Sequence[str]], Tensor]


@dataclass(frozen=True)
class Preservation:
    """What a classifier makes of variants.

    Attributes:
        kept: share of the variants that it gives their source's label, by strength, ascending; 0 are the originals.
        share: of the originals' share, that a recommended strength must keep.
        chance: share that guessing would keep.
    """

    kept: Mapping[float, Accuracy]
    share: float
    chance: float

    @property
    def recommended(self) -> float | None:
        """The largest strength above 0 that keeps enough labels; None where none does."""
        enough = self.share * self.kept[0.0].value - 1e-9  # 0.72 is 90% of 0.8
        return max(
            (strength for strength, kept in self.kept.items() if strength > 0 and kept.value >= enough), default=None
        )

    def to_dict(self) -> dict[str, Any]:
        """As ``preservation.json`` has it."""
        points = [{"strength": strength, **kept.to_dict()} for strength, kept in self.kept.items()]
        return {"recommended_strength": self.recommended, "share": self.share, "chance": self.chance, "kept": points}


def measure_preservation(
    checkpoint: Checkpoint,
    images: ImageSet,
    bank: StyleBank,
    style: StyleTransfer,
    folder: Path,
    *,
    strengths: Sequence[float] = STRENGTHS,
    share: float = 0.9,
    seed: int = 0,
) -> Preservation:
    """Stylise images at several strengths and count the labels that a classifier still gives them.

    Each image takes the same painting at every strength.

    Args:
        checkpoint: A classifier of the originals, that has never seen ``images``.
        images: Labelled, of its size and classes.
        bank: Which paintings to choose from.
        style: The transfer.
        folder: For the variants, a job's folder for each strength; what is there from before is kept.
        strengths: In [0, 1].
        share: Of the labels kept at strength 0, that a recommended strength must keep.
        seed: Of the choice of paintings.

    Raises:
        RobustAugError: a classifier of other images or no better than guessing, a share outside (0, 1], an image that
            cannot be stylised, a folder of something else.
    """
    check_share(share)
    kept = {0.0: kept_unchanged(checkpoint, images)}
    model = checkpoint.model.to(default_device())
    for strength in sorted(set(strengths) - {0.0}):
        place = folder / f"{strength:g}"
        result = stylize(items_of(images), place, bank, style, JobSettings(seed=seed, strength=strength))
        if result.skipped:
            first = result.skipped[0]
            raise RobustAugError(f"{len(result.skipped)} images cannot be stylised: {first.path}: {first.reason}")
        variants = load_variants(place, images)
        kept[strength] = accuracy_interval(_logits(model, variants.images).argmax(1) == variants.labels)
    return Preservation(kept, share, 1 / len(images.class_names))


def check_share(share: float) -> None:
    """Refuse a share of labels to keep outside (0, 1]."""
    if not 0 < share <= 1:
        raise RobustAugError(f"the share of labels to keep is {share:g}; it must lie above 0 and be at most 1")


def kept_unchanged(checkpoint: Checkpoint, images: ImageSet) -> Accuracy:
    """The share of images that a classifier gets right as they are.

    Raises:
        RobustAugError: a classifier of other images, or no better than guessing.
    """
    checkpoint.check_images(images.images, images.class_names)
    model, chance = checkpoint.model.to(default_device()), 1 / len(images.class_names)
    kept = accuracy_interval(_logits(model, images.images).argmax(1) == images.labels)
    if kept.low <= chance:
        raise RobustAugError(
            f"{checkpoint.path} has {percent(kept.value)}% of {len(images)} unchanged images right, guessing has "
            f"{percent(chance)}%: too little to judge by; give a better classifier or more samples"
        )
    return kept


def judge(checkpoint: Checkpoint) -> Judge:
    """A function that gives the probability of an image's own class: ``judge(checkpoint)(images, class_names)``.

    Images of another size are brought to the classifier's as its training images were: the central square, resized.
    What it says of an image does not depend on the others of the batch: every batch is filled up to one size.

    Raises:
        RobustAugError: when called: a class that the checkpoint does not know, or images that it cannot take.
    """
    model = checkpoint.model.to(default_device())
    number_of = {name: number for number, name in enumerate(checkpoint.class_names)}

    def probabilities(images: Tensor, class_names: Sequence[str]) -> Tensor:
        if len(images) != len(class_names):
            raise RobustAugError(f"{len(class_names)} class names for {len(images)} images; give one for each")
        if unknown := sorted(set(class_names) - number_of.keys()):
            what = f"class {unknown[0]!r}" if unknown[0] else "class of images outside of class folders"
            known = ", ".join(checkpoint.class_names[:5]) + (", ..." if len(checkpoint.class_names) > 5 else "")
            raise RobustAugError(
                f"{checkpoint.path} does not know the {what}, only {known}; give a classifier of these images' classes"
            )
        if not len(images):
            return torch.empty(0)
        images = fit(images, checkpoint.image_size)
        checkpoint.check_images(images)
        wanted = torch.tensor([number_of[name] for name in class_names], dtype=torch.int64)
        return _logits(model, images).softmax(1).gather(1, wanted[:, None]).squeeze(1)

    return probabilities


def draw_preservation(preservation: Preservation, path: Path) -> None:
    """Write an SVG: labels kept against strength with the 95% band, what must be kept, guessing, the recommendation."""
    with chart_style():
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.add_subplot()
        strengths = list(preservation.kept)
        value, low, high = (
            [100 * getattr(kept, name) for kept in preservation.kept.values()] for name in ("value", "low", "high")
        )
        axes.fill_between(strengths, low, high, color=_COLOUR, alpha=0.18, linewidth=0)
        axes.plot(strengths, value, color=_COLOUR, marker="^")
        enough = f"{percent(preservation.share)}% of the originals'"
        for text, height in ((enough, preservation.share * value[0]), ("guessing", 100 * preservation.chance)):
            axes.axhline(height, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
            above: dict[str, Any] = {"xytext": (0, 2), "textcoords": "offset points", "va": "bottom"}
            axes.annotate(text, (0.0, height), **above, fontsize=7.5, color=MUTED)
        if preservation.recommended is not None:
            axes.axvline(preservation.recommended, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            beside: dict[str, Any] = {
                "xycoords": axes.get_xaxis_transform(),
                "xytext": (-4, 0),
                "textcoords": "offset points",
            }
            text = f"recommended {preservation.recommended:g}"
            axes.annotate(text, (preservation.recommended, 0.02), **beside, ha="right", fontsize=8)
        axes.set_xticks(strengths)
        axes.set_xlabel("strength")
        percent_axis(axes, top=103)
        axes.set_ylabel("labels kept, %")
        with writing(path) as temporary:
            nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            figure.savefig(temporary, format="svg", metadata=nothing)


_COLOUR = "#d95f02"  # of stylised images in all charts


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits in eval mode, float32 (N, K) on the CPU, of uint8 images; batches are filled up to one size."""
    device, parts = next(model.parameters()).device, []
    with undisturbed(model), torch.no_grad():
        for start in range(0, len(images), _BATCH):
            rows = images[start : start + _BATCH]
            filled = rows[torch.arange(_BATCH) % len(rows)]
            parts.append(model(filled.to(device) / 255)[: len(rows)].float().cpu())
    return torch.cat(parts)
