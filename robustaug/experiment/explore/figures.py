"""Charts about a data set."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from robustaug.evaluation.report.wording import shortened
from robustaug.look import INK, MUTED, WIDTH, chart_style, inline_svg, save_svg

MOST_CLASSES = 50  # rows that a reader can follow
_COLOURS = {"train": "#0f79c2", "validation": "#7c8794", "test": "#d95f02", "all": "#0f79c2"}
LOOKS = {
    "brightness": "brightness (mean luma, 0 to 1)",
    "contrast": "contrast (deviation of luma)",
    "saturation": "saturation (0 is grey)",
    "sharpness": "sharpness (variance of the Laplacian)",
}

Facts = Mapping[str, Any]


def draw_figures(facts: Facts, folder: Path) -> dict[str, Markup]:
    """Write ``counts.svg``, ``looks.svg`` and ``shortcuts.svg``; returns each as an element of a page.

    Raises:
        RobustAugError: a file cannot be written.
    """
    charts = {}
    for name, (draw, words) in _DRAWINGS.items():
        path = folder / f"{name}.svg"
        with chart_style():
            figure = draw(facts)
            if figure is None:
                path.unlink(missing_ok=True)
                continue
            save_svg(figure, path)
        charts[name] = inline_svg(path.read_text(encoding="utf-8"), name, words)
    return charts


def classes_shown(facts: Facts) -> list[str]:
    """All classes by their number of images, or where there are too many the smallest."""
    counts = facts["counts"]["by_class"]
    order = sorted(counts, key=lambda name: -sum(counts[name].values()))
    return order[-MOST_CLASSES:]


def _counts(facts: Facts) -> Figure:
    classes = classes_shown(facts)
    figure = Figure(figsize=(WIDTH, 0.9 + 0.2 * len(classes)), layout="constrained")
    axes = figure.add_subplot()
    left = [0] * len(classes)
    for part in facts["data"]["parts"]:
        values = [facts["counts"]["by_class"][name][part] for name in classes]
        axes.barh(range(len(classes)), values, 0.7, left=left, color=_COLOURS[part], label=part)
        left = [a + b for a, b in zip(left, values, strict=True)]
    for row, total in enumerate(left):
        axes.annotate(f"{total:,}", (total, row), (3, 0), textcoords="offset points", va="center", fontsize=7.5)
    axes.set_yticks(range(len(classes)), [shortened(name, 24) for name in classes])
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_xlim(0, 1.1 * max(left))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("images")
    if len(facts["data"]["parts"]) > 1:
        figure.legend(loc="outside upper left", ncols=3)
    return figure


def _looks(facts: Facts) -> Figure:
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(2, 2).flat, LOOKS.items(), strict=True):
        look = facts["looks"][name]
        axes.stairs(look["counts"], look["edges"], fill=True, color=_COLOURS["all"])
        axes.axvline(look["median"], color=INK, linewidth=0.9)
        axes.set_xlabel(title)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
    return figure


def _shortcuts(facts: Facts) -> Figure | None:
    rows = facts["shortcuts"]
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH, 1.0 + 0.32 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for row, each in enumerate(rows):
        found = {key: 100 * each["accuracy"][key] for key in ("value", "low", "high")}
        around = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
        axes.errorbar(found["value"], row, xerr=around, fmt="o", color=_COLOURS["test"], capsize=3)
    majority = 100 * rows[0]["majority"]
    axes.axvline(majority, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
    axes.annotate(
        "largest class", (majority, 1.0), (3, 2), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
        fontsize=7.5, color=MUTED,
    )  # fmt: skip
    axes.set_yticks(range(len(rows)), [each["name"] for each in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("images whose class is predicted, %")
    return figure


_DRAWINGS: Mapping[str, tuple[Callable[[Facts], Figure | None], str]] = {
    "counts": (_counts, "Bar chart: images of each class by part. The numbers are in the table below."),
    "looks": (
        _looks,
        "Four histograms: brightness, contrast, saturation and sharpness. The table below has quantiles.",
    ),
    "shortcuts": (
        _shortcuts,
        "Dot plot with intervals: how well each thing predicts the class. The table has the numbers.",
    ),
}
