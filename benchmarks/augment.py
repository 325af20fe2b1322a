"""Classical augmentation side by side: torchvision in a plain loop, and robustaug's job and batches.

    python benchmarks/augment.py [--quick] [--json FILE]

All images are made here: smooth colours with noise on them, so that they compress as badly as photos. Position and
colour: crop, mirror, affine, brightness, contrast, saturation, hue, each with probability one half and the same ranges.

Written: PNG files are read from a folder and variants written to another. The plain loop is what a script has: Pillow
reads, torchvision.transforms.v2 changes one image at a time, Pillow writes; in one process with one thread (several
make it slower), and in two worker processes of a DataLoader. The job also hashes its sources and writes a manifest that
tells every parameter. In memory: the same for a batch of a training loop, from floats to floats. Both run in turn, a
row is the median over the rounds; the ratio comes first.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measure import cell, write_rows
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from robustaug.data.augmentation import build_techniques
from robustaug.data.augmenter import ClassicalAugmenter
from robustaug.data.content import folder_items
from robustaug.data.images import write_png
from robustaug.experiment.augment_job import AugmentSettings, augment_images

Row = dict[str, Any]
PER_IMAGE = 4
RECIPE = [
    {"name": name, "probability": 0.5}
    for name in ("crop", "horizontal_flip", "affine", "brightness", "contrast", "saturation", "hue")
]


def torchvisions(side: int) -> v2.Transform:
    """The recipe in torchvision's own words."""
    factor = (0.7, 1.3)
    jitters: list[dict[str, Any]] = [{"brightness": factor}, {"contrast": factor}, {"saturation": factor}]
    affine = v2.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), (-5, 5, -5, 5), v2.InterpolationMode.BILINEAR)
    halves = [v2.RandomCrop(side, 4), v2.RandomHorizontalFlip(1.0), affine]
    halves += [v2.ColorJitter(**jitter) for jitter in (*jitters, {"hue": 0.05})]
    return v2.Compose([v2.ToImage(), *(v2.RandomApply([each], 0.5) for each in halves)])


def smooth(count: int, side: int) -> Tensor:
    """Uint8 (count, 3, side, side)."""
    generator = torch.Generator().manual_seed(0)
    images = F.interpolate(torch.rand(count, 3, 6, 6, generator=generator), (side, side), mode="bicubic")
    return ((images + 0.03 * torch.randn(images.shape, generator=generator)).clamp(0, 1) * 255).byte()


class PlainLoop(Dataset[int]):
    """Each item: an image read, changed and written so many times."""

    def __init__(self, content: Path, out: Path, side: int) -> None:
        self.paths, self.out, self.transform = sorted(content.rglob("*.png")), out, torchvisions(side)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> int:
        path = self.paths[index]
        (self.out / path.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            rgb = image.convert("RGB")
        for number in range(PER_IMAGE):
            changed = self.transform(rgb).permute(1, 2, 0).numpy()
            Image.fromarray(changed).save(self.out / path.parent.name / f"{path.stem}_{number}.png")
        return PER_IMAGE


def in_one_thread(run: Callable[[], object]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run()
    finally:
        torch.set_num_threads(threads)


def written(side: int, count: int, work: Path) -> dict[str, Callable[[], object]]:
    content, out = work / f"content{side}", work / "out"
    for number, image in enumerate(smooth(count, side)):
        write_png(content / f"class{number % 10}" / f"{number:05}.png", image)
    augmenter, loop = ClassicalAugmenter(build_techniques(RECIPE, "recipe")), PlainLoop(content, out, side)

    def job() -> None:
        items, _ = folder_items(content)
        assert augment_images(items, out, augmenter, AugmentSettings(PER_IMAGE)).written == PER_IMAGE * count

    return {
        "plain loop": lambda: in_one_thread(lambda: [loop[index] for index in range(count)]),
        "plain loop, 2 processes": lambda: sum(map(int, DataLoader(loop, batch_size=None, num_workers=2))),
        "job": job,
    }


def in_memory(side: int, count: int) -> dict[str, Callable[[], object]]:
    images, seeds = smooth(count, side) / 255, torch.arange(count)
    augmenter, transform = ClassicalAugmenter(build_techniques(RECIPE, "recipe")), torchvisions(side)
    return {
        "plain loop": lambda: in_one_thread(lambda: torch.stack([transform(image) for image in images])),
        "batch": lambda: augmenter.augment(images, seeds, seeds),
    }


def compare(case: str, ways: dict[str, Callable[[], object]], variants: int, rounds: int, out: Path) -> list[Row]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):  # the first finds files and kernels cold, and is not counted
        for name, way in ways.items():
            shutil.rmtree(out, ignore_errors=True)
            began = time.perf_counter()
            way()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    rows = []
    for name in ways:
        ratio = median(plain / own for plain, own in zip(seconds["plain loop"], seconds[name], strict=True))
        library = "torchvision" if name.startswith("plain") else "robustaug"
        rate = variants / median(seconds[name])
        rows.append({"case": case, "library": library, "mode": name, "ratio": ratio, "variants_per_second": rate})
        print(f"{cell(ratio, 7, '{:.2f}')} {cell(rate, 11, '{:.0f}')}  {library:<12} {name:<24} {case}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Variants per second, beside torchvision in a plain loop.")
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    share, rounds = (4, 1) if options.quick else (1, 5)
    rows: list[Row] = []
    print(f"{'ratio':>7} {'variants/s':>11}  {'library':<12} {'mode':<24} case")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for side, count in ((32, 800 // share), (224, 80 // share)):
            ways, case = written(side, count, work), f"{PER_IMAGE * count} variants written, {side} px"
            rows += compare(case, ways, PER_IMAGE * count, rounds, work / "out")
        for side, count in ((32, 128), (224, 32)):
            rows += compare(
                f"a batch of {count} in memory, {side} px", in_memory(side, count), count, rounds, work / "out"
            )
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
