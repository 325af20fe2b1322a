"""The report's charts, drawn with matplotlib's object-oriented API: no global state, byte-repeatable files."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustaug.evaluation.report.chart_style import arm_legend, chance_line, eps_axis, percent_axis
from robustaug.evaluation.report.run_folder import RunFolder
from robustaug.evaluation.report.training_figure import training_curves
from robustaug.evaluation.report.wording import (
    ROBUST_METRICS,
    arm_looks,
    eps_number,
    metric_names,
    metric_title,
    percent,
    shortened,
)
from robustaug.look import INK, WIDTH, chart_style, save_png, save_svg

MAX_CLASSES = 50  # rows that a reader can follow in one chart


@dataclass(frozen=True)
class Drawing:
    """A chart's file name (without suffix) and how to draw it; ``draw`` gives None where nothing was measured."""

    name: str
    draw: Callable[[RunFolder], Figure | None]
    png: bool = False


def draw_figures(run: RunFolder, folder: Path) -> list[str]:
    """Write every chart that the run has numbers for as ``NAME.svg``, the accuracy chart as PNG too.

    Returns:
        The names of the files written.

    Raises:
        RobustAugError: a file cannot be written.
    """
    written = []
    for drawing in DRAWINGS:
        with chart_style():
            figure = drawing.draw(run)
            if figure is None:
                continue
            save_svg(figure, folder / f"{drawing.name}.svg")
            written.append(f"{drawing.name}.svg")
            if drawing.png:
                save_png(figure, folder / f"{drawing.name}.png")
                written.append(f"{drawing.name}.png")
    return written


def accuracy_by_arm(run: RunFolder) -> Figure | None:
    """Grouped bars, one group a metric, one bar an arm, with 95% intervals; the value above where there is room."""
    report = run.report
    metrics, arms = metric_names(report), list(report["arms"])
    if not metrics:
        return None
    looks = arm_looks(arms)
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.add_subplot()
    width = 0.84 / len(arms)
    is_roomy = len(arms) * len(metrics) <= 24
    for number, arm in enumerate(arms):
        offset = (number - (len(arms) - 1) / 2) * width
        for group, name in enumerate(metrics):
            metric = report["arms"][arm]["metrics"].get(name)
            if metric is None:
                continue
            value, low, high = (100 * metric[key] for key in ("value", "low", "high"))
            axes.bar(group + offset, value, width * 0.9, color=looks[arm].colour)
            axes.errorbar(
                group + offset,
                value,
                [[max(0.0, value - low)], [max(0.0, high - value)]],
                color=INK,
                linewidth=0.9,
                capsize=2,
                capthick=0.9,
            )
            if is_roomy:
                axes.text(group + offset, high + 1.5, percent(metric["value"]), ha="center", va="bottom", fontsize=6.5)
    titles = [shortened(metric_title(name), 16).replace(" ", "\n") for name in metrics]
    axes.set_xticks(range(len(metrics)), titles, fontsize=9 if len(metrics) <= 6 else 7)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    percent_axis(axes, top=109)
    chance_line(axes, report)
    arm_legend(figure, arms, patches=True)
    return figure


def accuracy_against_eps(run: RunFolder) -> Figure | None:
    """Lines with 95% bands per arm, the stated eps and the accuracy of guessing marked."""
    report = run.report
    curves = {arm: entry["eps_curve"] for arm, entry in report["arms"].items() if entry.get("eps_curve")}
    if not curves:
        return None
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    axes = figure.add_subplot()
    _lines(axes, report, {arm: [(eps_number(point["eps"]), point) for point in curve] for arm, curve in curves.items()})
    eps_axis(axes, report)
    percent_axis(axes, top=105)
    chance_line(axes, report)
    arm_legend(figure, list(curves))
    return figure


def accuracy_against_strength(run: RunFolder) -> Figure | None:
    """Lines with 95% bands per arm over the strength of unseen styles, from unchanged images to whole styles."""
    report = run.report
    curves = {arm: entry["style_strength"] for arm, entry in report["arms"].items() if entry.get("style_strength")}
    if not curves:
        return None
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes = figure.add_subplot()
    _lines(axes, report, {arm: [(point["strength"], point) for point in points] for arm, points in curves.items()})
    axes.set_xlabel("style strength")
    percent_axis(axes, top=105)
    chance_line(axes, report)
    arm_legend(figure, list(curves))
    return figure


def smallest_distances(run: RunFolder) -> Figure | None:
    """Falling steps per arm: the share of images whose smallest adversarial distance is larger than each radius."""
    report = run.report
    found = {arm: entry["distances"] for arm, entry in report["arms"].items() if entry.get("distances")}
    if not found:
        return None
    looks = arm_looks(report["arms"])
    stated = eps_number(report["threat"]["eps"])
    end = 1.05 * max(2 * stated, *(distances["quantiles"].get("0.95") or 0 for distances in found.values()))
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    axes = figure.add_subplot()
    for arm, distances in found.items():
        eps = [0.0, *distances["eps"], max([end, *distances["eps"][-1:]])]
        left = [100 * (1 - broken / distances["n"]) for broken in range(len(eps) - 1)]
        axes.step(eps, [*left, left[-1]], where="post", color=looks[arm].colour, linestyle=looks[arm].line)
    axes.set_xlim(right=end)
    eps_axis(axes, report)
    percent_axis(axes, top=105)
    axes.set_ylabel("images not broken, %")
    arm_legend(figure, list(found))
    return figure


def _lines(
    axes: Axes, report: Mapping[str, Any], curves: Mapping[str, list[tuple[float, Mapping[str, float]]]]
) -> None:
    """A line with its 95% band per arm, through (place, accuracy) in the order of the places."""
    looks = arm_looks(report["arms"])
    for arm, curve in curves.items():
        points = sorted(curve, key=lambda point: point[0])
        places, look = [place for place, _ in points], looks[arm]
        value, low, high = ([100 * accuracy[key] for _, accuracy in points] for key in ("value", "low", "high"))
        axes.fill_between(places, low, high, color=look.colour, alpha=0.18, linewidth=0)
        axes.plot(places, value, color=look.colour, marker=look.marker, linestyle=look.line)


def per_class_accuracy(run: RunFolder) -> Figure | None:
    """A dot plot, one row a class, clean and under the strongest attack side by side."""
    report = run.report
    tables = {arm: entry.get("per_class") or {} for arm, entry in report["arms"].items()}
    measured = {kind for table in tables.values() for kind, by_class in table.items() if by_class}
    kinds = [kind for kind in dict.fromkeys(("clean", *ROBUST_METRICS, *sorted(measured))) if kind in measured][:2]
    if not kinds:
        return None
    classes = classes_shown(report)
    looks = arm_looks(report["arms"])
    figure = Figure(figsize=(WIDTH, 1.1 + 0.2 * len(classes)), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        axes.set_title(metric_title(kind))
        for number, (arm, table) in enumerate(tables.items()):
            shift = 0.6 * ((number + 0.5) / len(tables) - 0.5)  # side by side where arms agree
            found = [
                (100 * table[kind][name]["value"], row)
                for row, name in enumerate(classes)
                if name in table.get(kind, {})
            ]
            values, rows = [value for value, _ in found], [row + shift for _, row in found]
            axes.plot(values, rows, looks[arm].marker, color=looks[arm].colour, alpha=0.85, markeredgewidth=0)
        axes.set_yticks(range(len(classes)), [shortened(name, 24) for name in classes])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(classes) - 0.5, -0.5)
        axes.set_xlim(-3, 103)
        axes.set_xlabel("accuracy, %")
    arm_legend(figure, [arm for arm in tables if tables[arm]])
    return figure


def classes_shown(report: Mapping[str, Any]) -> list[str]:
    """The classes of the per-class chart: all, or where there are too many the ones with the lowest mean accuracy."""
    classes: list[str] = report["data"]["classes"]
    if len(classes) <= MAX_CLASSES:
        return classes

    def mean(name: str) -> float:
        tables = [table for entry in report["arms"].values() for table in (entry.get("per_class") or {}).values()]
        values = [table[name]["value"] for table in tables if name in table]
        return sum(values) / len(values) if values else math.inf

    lowest = set(sorted(classes, key=mean)[:MAX_CLASSES])
    return [name for name in classes if name in lowest]


DRAWINGS = (
    Drawing("accuracy", accuracy_by_arm, png=True),
    Drawing("eps", accuracy_against_eps),
    Drawing("distances", smallest_distances),
    Drawing("strength", accuracy_against_strength),
    Drawing("classes", per_class_accuracy),
    Drawing("training", training_curves),
)
