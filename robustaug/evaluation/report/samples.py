"""Sample pictures: as data for the page, and as grids for a README."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from robustaug.evaluation.report.run_folder import RunFolder, inside
from robustaug.evaluation.report.verdict import best_arm, reference_arm
from robustaug.evaluation.report.wording import plain, shortened
from robustaug.look import INK, MUTED, chart_style, save_png

LARGEST_SIDE = 160  # pixels; larger pictures are shown smaller
_PAGE_BYTES = 3_000_000  # for all pictures of the page together, so that the page stays below 5 MB
_GRID_COLUMNS = 8  # over all blocks

ADVERSARIAL_PARTS = ("original", "perturbation", "adversarial")
STYLISED_PARTS = ("content", "painting", "stylised")
CONFLICT_PARTS = ("content", "texture", "conflict")


@dataclass(frozen=True)
class Sample:
    """One row of a samples file with its three pictures, each a ``data:`` address or None where the file is missing.

    ``unattacked``: the prediction was wrong before, and the attack left the image as it was.
    """

    facts: dict[str, str]
    pictures: dict[str, str | None]
    unattacked: bool = False


@dataclass(frozen=True)
class Samples:
    """The samples of one kind that the page shows, by arm (one unnamed group for stylised ones)."""

    groups: dict[str, list[Sample]]
    shown: int
    total: int


def page_samples(run: RunFolder) -> tuple[Samples | None, Samples | None, Samples | None]:
    """Adversarial, stylised and cue-conflict samples for the page, as many of each as its size allows."""
    share = _PAGE_BYTES // 3
    return (
        _collected(run, run.adversarial, ADVERSARIAL_PARTS, share),
        _collected(run, run.stylised, STYLISED_PARTS, share),
        _collected(run, run.conflicts, CONFLICT_PARTS, share),
    )


def draw_grids(run: RunFolder, folder: Path) -> list[str]:
    """Write ``adversarial.png`` and ``stylised.png`` where the run has such samples; returns their names.

    The adversarial grid shows the reference arm and the most robust one; the page shows every arm.
    """
    written = []
    if run.adversarial is not None and run.adversarial["rows"]:
        rows = run.adversarial["rows"]
        present = list(dict.fromkeys(str(row.get("arm")) for row in rows))
        wanted = [arm for arm in (reference_arm(run.report), best_arm(run.report)) if arm in present] or present[:1]
        wanted = list(dict.fromkeys(wanted))
        columns = _GRID_COLUMNS // len(wanted)
        blocks = [[row for row in rows if str(row.get("arm")) == arm][:columns] for arm in wanted]
        _draw_grid(run, blocks, ADVERSARIAL_PARTS, folder / "adversarial.png", run.adversarial.get("amplification"))
        written.append("adversarial.png")
    if run.stylised is not None and run.stylised["rows"]:
        _draw_grid(run, [run.stylised["rows"][:_GRID_COLUMNS]], STYLISED_PARTS, folder / "stylised.png", None)
        written.append("stylised.png")
    return written


def _collected(run: RunFolder, samples: Mapping[str, Any] | None, parts: tuple[str, ...], limit: int) -> Samples | None:
    """Samples taken in turn from each arm until the limit in bytes is reached."""
    if samples is None or not samples["rows"]:
        return None
    by_arm: dict[str, list[dict[str, Any]]] = {}
    for row in samples["rows"]:
        by_arm.setdefault(str(row.get("arm", "")), []).append(row)
    groups: dict[str, list[Sample]] = {arm: [] for arm in by_arm}
    spent = 0
    for turn in range(max(map(len, by_arm.values()))):
        for arm, rows in by_arm.items():
            if turn >= len(rows):
                continue
            sample = _sample(run.path / "samples", rows[turn], parts)
            spent += sum(len(picture) for picture in sample.pictures.values() if picture)
            if spent > limit:
                return _counted(groups, len(samples["rows"]))
            groups[arm].append(sample)
    return _counted(groups, len(samples["rows"]))


def _counted(groups: dict[str, list[Sample]], total: int) -> Samples:
    return Samples({arm: found for arm, found in groups.items() if found}, sum(map(len, groups.values())), total)


def _sample(folder: Path, row: Mapping[str, Any], parts: tuple[str, ...]) -> Sample:
    images = {part: _picture(folder, row.get(part)) for part in parts}
    pictures = {part: None if image is None else _data_address(image) for part, image in images.items()}
    change = images.get("perturbation")
    was_wrong = "prediction_before" in row and row["prediction_before"] != row.get("label")
    unattacked = was_wrong and change is not None and all(low == high for low, high in _extrema(change))
    return Sample({key: plain(value) for key, value in row.items() if key not in parts}, pictures, unattacked)


def _extrema(picture: Image.Image) -> list[tuple[int, int]]:
    return [(int(channel.min()), int(channel.max())) for channel in np.moveaxis(np.asarray(picture), -1, 0)]


def _picture(folder: Path, name: Any) -> Image.Image | None:
    """A picture of the samples folder at no more than ``LARGEST_SIDE``; None where it is missing or broken."""
    path = inside(folder, str(name))
    if path is None:
        return None
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    return picture


def _data_address(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _draw_grid(
    run: RunFolder, blocks: list[list[dict[str, Any]]], parts: tuple[str, ...], path: Path, amplification: Any
) -> None:
    """Blocks side by side, one an arm; in a block one column a sample and one row a part, with captions above."""
    widths = [max(2, len(block)) for block in blocks]  # room for the arm's name
    with chart_style():
        figure = Figure(figsize=(1.1 * sum(widths) + 1.1, 1.3 * len(parts) + 0.3), layout="constrained")
        shares = [width + (0.75 if number == 0 else 0) for number, width in enumerate(widths)]
        areas = figure.subfigures(1, len(blocks), width_ratios=shares, squeeze=False)[0]
        for number, (area, block) in enumerate(zip(areas, blocks, strict=True)):
            if "arm" in block[0]:
                area.suptitle(f"arm: {shortened(str(block[0]['arm']))}", fontsize=9, weight="bold")
            panels = area.subplots(len(parts), widths[number], squeeze=False)
            for axes_row, part in zip(panels, parts, strict=True):
                for axes in axes_row:
                    axes.set_axis_off()
                for axes, row in zip(axes_row, block, strict=False):
                    _draw_picture(axes, _picture(run.path / "samples", row.get(part)), _caption(row, part))
                if number == 0:
                    amplified = part == "perturbation" and amplification is not None
                    heading = f"{part},\n{plain(amplification)} times\namplified" if amplified else part
                    place = {"transform": axes_row[0].transAxes, "ha": "right", "va": "center"}
                    axes_row[0].text(-0.12, 0.5, heading, fontsize=8, color=INK, **place)
        save_png(figure, path)


def _draw_picture(axes: Axes, picture: Image.Image | None, caption: str) -> None:
    if picture is None:
        axes.text(0.5, 0.5, "missing", ha="center", va="center", color=MUTED, fontsize=7)
    else:
        axes.imshow(np.asarray(picture), interpolation="nearest")
    axes.set_title(caption, loc="center", fontsize=7, weight="normal", pad=3)


def _caption(row: Mapping[str, Any], part: str) -> str:
    key, prefix = {
        "original": ("prediction_before", "predicts "),
        "adversarial": ("prediction_after", "predicts "),
        "content": ("label", ""),
        "painting": ("style", ""),
    }.get(part, ("", ""))
    return prefix + shortened(plain(row[key]), 14) if key in row else ""
