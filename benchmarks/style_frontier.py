"""How much style for how many labels: Gatys and AdaIN over strengths 0 to 1, at 32, 64 and 128 px.

    python benchmarks/style_frontier.py CIFAR10_DIR CLOTHING_DIR [--classifiers DIR] [--figure FILE] [--quick]
        [--json FILE]

Both folders hold train/ and test/ with a folder a class: CIFAR-10 serves 32 px, the clothing photos 64 and 128 px. For
each size a small classifier is trained on the originals (kept in --classifiers, if given). "kept" is the share of test
images, in a random embedded painting each, rounded to 8 bits, that it still gets right. "distance" is the style loss of
the variant over that of the untouched image, mean over the images: 1 is no style at all, 0 all of it; for every method
measured by one function, in float32, with the layers and sizes of the settings for that image size. "at kept" is the
least distance at which a method still keeps that share of what is right untouched, on straight lines between the
strengths; the ratio is AdaIN's over Gatys's.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from measure import write_rows
from torch import Tensor

from robustaug.data import ImageSet, load_data
from robustaug.data.images import to_uint8
from robustaug.evaluation.harness import stratified_choice
from robustaug.evaluation.statistics import Accuracy, accuracy_interval
from robustaug.experiment.preserve_job import train_classifier
from robustaug.files import writing
from robustaug.hardware import default_device
from robustaug.look import chart_style
from robustaug.models import Checkpoint
from robustaug.style import Gatys, Painting, StyleBank, StyleTransfer, load_encoder
from robustaug.style.adain import AdaIN
from robustaug.style.gatys import measure
from robustaug.training import TrainingSettings

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SHARES = (0.95, 0.9, 0.8, 0.7)  # of what is right untouched


@dataclass(frozen=True)
class Case:
    """One image size: where its images come from, how many are styled, and how its classifier is trained."""

    size: int
    source: str
    samples: int
    limit: int  # training images of a class
    width: int
    steps: int


CASES = (
    Case(32, "cifar10", samples=200, limit=1500, width=64, steps=1500),
    Case(64, "clothing", samples=200, limit=400, width=32, steps=1000),
    Case(128, "clothing", samples=80, limit=400, width=16, steps=800),
)
QUICK = (
    Case(32, "cifar10", samples=30, limit=200, width=32, steps=200),
    Case(64, "clothing", samples=20, limit=200, width=16, steps=150),
)


@dataclass(frozen=True)
class Point:
    """A method at one strength."""

    strength: float
    distance: float
    kept: Accuracy
    images_per_second: float | None


def points_of(
    method: StyleTransfer,
    checkpoint: Checkpoint,
    images: ImageSet,
    paintings: Sequence[Painting],
    strengths: Sequence[float],
) -> list[Point]:
    content, points = images.float_images(method.device), []
    untouched = measure(content, content, paintings)["style_loss"]
    method(content[:2], paintings[:2])  # warm-up
    for strength in strengths:
        began = time.perf_counter()
        made = method(content, paintings, strength=strength)
        seconds = time.perf_counter() - began
        made = to_uint8(made) / 255
        distance = measure(made, content, paintings)["style_loss"] / untouched
        speed = len(images) / seconds if strength > 0 else None
        points.append(Point(strength, float(distance.mean()), right(checkpoint, made, images.labels), speed))
    return points


def measured(case: Case, source: Path, folder: Path, strengths: Sequence[float]) -> Iterator[tuple[str, list[Point]]]:
    """Name and points of each method."""
    data = load_data(str(source), size=case.size, limit=case.limit)
    settings = TrainingSettings(steps=case.steps, batch_size=64, flip=True, shift=case.size // 8, precision="auto")
    checkpoint = train_classifier(data, folder / f"{case.size}px-{case.steps}", settings, width=case.width)
    images, encoder, bank = data.test, load_encoder().to(default_device()), StyleBank.embedded()
    images = images.select(stratified_choice(images.labels, case.samples, 0))
    paintings = [bank.choose(0, key)[0] for key in images.keys]
    for method in (Gatys(encoder), AdaIN(encoder)):
        yield method.name, points_of(method, checkpoint, images, paintings, strengths)


def row_of(size: int, name: str, point: Point) -> dict[str, Any]:
    """A row for the JSON file, printed as well."""
    share = point.kept
    kept = f"{100 * share.value:.1f} [{100 * share.low:.0f}, {100 * share.high:.0f}]"
    speed = "" if point.images_per_second is None else f"{point.images_per_second:.1f}"
    print(f"{size:>6} {name:>7} {point.strength:>8g} {point.distance:>9.3f} {kept:>22} {speed:>9}", flush=True)
    return {
        "case": f"{size} px",
        "library": "robustaug",
        "mode": f"{name} {point.strength:g}",
        "images_per_second": point.images_per_second,
        "style_distance": point.distance,
        "kept": share.to_dict(),
    }


def right(checkpoint: Checkpoint, images: Tensor, labels: Tensor) -> Accuracy:
    with torch.no_grad():
        return accuracy_interval(checkpoint.model(images.cpu()).argmax(1) == labels)


def distance_at(share: float, points: Sequence[Point]) -> float:
    """The least distance where ``share`` or more is kept, on the lines between points in the order of strengths."""
    found = [point.distance for point in points if point.kept.value >= share]
    for a, b in itertools.pairwise(points):
        if (a.kept.value - share) * (b.kept.value - share) < 0:
            along = (share - a.kept.value) / (b.kept.value - a.kept.value)
            found.append(a.distance + along * (b.distance - a.distance))
    return min(found)


def draw(curves: dict[tuple[int, str], list[Point]], path: Path) -> None:
    sizes = list(dict.fromkeys(size for size, _ in curves))
    with chart_style():
        figure = Figure(figsize=(2.9 * len(sizes) + 0.6, 3.3), layout="constrained")
        panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        looks = {"gatys": ("#0f79c2", "s", "-"), "adain": ("#d95f02", "^", "--")}
        for axes, size in zip(panels, sizes, strict=True):
            axes.set_title(f"{size} px")
            for name, (colour, marker, line) in looks.items():
                points = curves[size, name]
                x, kept = [point.distance for point in points], [point.kept for point in points]
                low, high = [100 * share.low for share in kept], [100 * share.high for share in kept]
                axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
                y = [100 * share.value for share in kept]
                axes.plot(x, y, color=colour, marker=marker, linestyle=line, label=name)
                for point in points[1:]:
                    place = (point.distance, 100 * point.kept.value)
                    axes.annotate(f"{point.strength:g}", place, xytext=(3, 4), textcoords="offset points", fontsize=6.5)
            axes.set_xlim(1.03, 0)  # more style to the right
            axes.set_xlabel("style distance")
        panels[0].set_ylim(0, 103)
        panels[0].set_ylabel("labels kept, %")
        panels[0].legend(loc="lower left")
        with writing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], dpi=180)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", type=Path, metavar="CIFAR10_DIR")
    parser.add_argument("clothing", type=Path, metavar="CLOTHING_DIR")
    parser.add_argument("--classifiers", type=Path, metavar="DIR", help="keep the trained classifiers here")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="an .svg or .png")
    parser.add_argument("--quick", action="store_true", help="32 and 64 px, few images, in about two minutes")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    strengths, rows, curves = (0.0, 0.5, 1.0) if arguments.quick else STRENGTHS, list[dict[str, Any]](), {}
    print(f"{'size':>6} {'method':>7} {'strength':>8} {'distance':>9} {'kept % [95% interval]':>22} {'images/s':>9}")
    with tempfile.TemporaryDirectory() as temporary:
        for case in QUICK if arguments.quick else CASES:
            folder = arguments.classifiers or Path(temporary)
            for name, points in measured(case, getattr(arguments, case.source), folder, strengths):
                curves[case.size, name] = points
                rows += [row_of(case.size, name, point) for point in points]
    print(f"\n{'size':>6} {'at kept':>8} {'gatys':>7} {'adain':>7} {'ratio':>6}")
    for size in dict.fromkeys(size for size, _ in curves):
        for share in SHARES:
            kept = share * curves[size, "gatys"][0].kept.value
            gatys, adain = (distance_at(kept, curves[size, name]) for name in ("gatys", "adain"))
            print(f"{size:>6} {share:>8.0%} {gatys:>7.3f} {adain:>7.3f} {adain / gatys:>6.2f}")
            row = {"case": f"{size} px", "library": "robustaug", "mode": f"adain/gatys at {share:g} kept"}
            rows.append(row | {"ratio": adain / gatys, "gatys_distance": gatys, "adain_distance": adain})
    if arguments.figure:
        draw(curves, arguments.figure)
    write_rows(arguments.json, rows)


if __name__ == "__main__":
    main()
