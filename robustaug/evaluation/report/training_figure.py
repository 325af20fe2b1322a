"""The training curves: loss and accuracy of each arm by optimisation step, the chosen checkpoint marked."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robustaug.evaluation.report.chart_style import percent_axis
from robustaug.evaluation.report.run_folder import RunFolder
from robustaug.evaluation.report.wording import ArmLook, arm_looks, shortened
from robustaug.look import INK, MUTED, WIDTH

Rows = Sequence[Mapping[str, Any]]
Points = list[tuple[int, float]]
Style = Literal["-", "--", ":", "-."]

_MAX_POINTS = 200  # of a curve; more are averaged
_PANELS = {"loss": "training loss", "clean": "clean, %", "robust": "under attack, %"}
# Columns of the history and their panels. ``training_robust``, of single batches, is left to the marks of a collapse.
_TRAINING = {
    "loss": "loss",
    "training_clean": "clean",
    "training_clean_batch": "clean",  # in the place of the former
    "training_robust_running": "robust",
}
_VALIDATION = re.compile(r"validation_(clean|robust)(?:_(\w+))?")
_AVERAGES: tuple[Style, ...] = ("--", ":", "-.")  # averaged weights, in the order in which they are found
_THIN = 0.7


class _Line(NamedTuple):
    """A panel, ``"training"`` or ``"validation"``, and which weights: ``""`` for the raw ones, or ``"ema"``."""

    panel: str
    part: str
    weights: str = ""


def training_curves(run: RunFolder) -> Figure | None:
    """A row for each arm: training loss, clean accuracy, accuracy under attack; the arms share their axes.

    Validation accuracy has the arm's colour, and averaged weights have a line style of their own; training accuracy is
    a thin line. An upright line stands at the chosen step, with a mark where the score that chose it is.
    """
    rows = {arm: entry["training_curve"] for arm, entry in run.report["arms"].items() if entry.get("training_curve")}
    curves = {arm: _curves(each) for arm, each in rows.items()}
    lines = list(dict.fromkeys(line for curve in curves.values() for line in curve))
    panels = [panel for panel in _PANELS if any(line.panel == panel for line in lines)]
    if not panels:
        return None
    averages = dict.fromkeys(line.weights for line in lines if line.weights)
    styles: dict[str, Style] = {"": "-", **dict(zip(averages, _AVERAGES * len(averages), strict=False))}
    looks = arm_looks(run.report["arms"])
    figure = Figure(figsize=(WIDTH, 0.8 + 1.6 * len(curves)), layout="constrained")
    grid = figure.subplots(len(curves), len(panels), sharex=True, sharey="col", squeeze=False)
    for (arm, curve), row in zip(curves.items(), grid, strict=True):
        row[0].set_title(shortened(arm))
        for panel, axes in zip(panels, row, strict=True):
            _draw_panel(axes, panel, curve, looks[arm], styles)
            _mark_chosen(axes, panel, rows[arm], run.report["arms"][arm].get("training") or {}, looks[arm])
            if panel == "robust":
                _mark_collapses(axes, rows[arm])
    last = max(points[-1][0] for curve in curves.values() for points in curve.values())
    grid[0][0].set_xlim(0, 1.04 * last or 1)
    grid[0][0].locator_params(axis="x", nbins=4)
    if panels[0] == "loss":
        grid[0][0].set_ylim(bottom=0)  # only now: it ends the automatic limits of the whole column
    for axes in grid[-1]:
        axes.set_xlabel("step")
    _legend(figure, lines, styles, collapsed=any(row.get("collapsed") for each in rows.values() for row in each))
    return figure


def training_words(report: Mapping[str, Any]) -> str:
    """How the curves run, for readers who do not see them."""
    sentences = ["Line charts by optimisation step, a row for each arm."]
    for arm, entry in report["arms"].items():
        curve, facts = _curves(entry.get("training_curve") or []), []
        if loss := curve.get(_Line("loss", "training")):
            facts.append(f"training loss from {loss[0][1]:.3g} to {loss[-1][1]:.3g}")
        for panel, words in (("clean", "clean"), ("robust", "under attack")):
            if points := curve.get(_Line(panel, "validation")):
                facts.append(f"validation accuracy {words} {points[-1][1]:.1f}% at the end")
        if facts:
            sentences.append(f"{arm}: {', '.join(facts)}.")
    return " ".join(sentences)


def _line(key: str) -> _Line | None:
    """The line that a column of the history is drawn as; None if it is not drawn."""
    if key in _TRAINING:
        return _Line(_TRAINING[key], "training")
    found = _VALIDATION.fullmatch(key)
    return found and _Line(found[1], "validation", found[2] or "")


def _curves(rows: Rows) -> dict[_Line, Points]:
    found: dict[_Line, Points] = {}
    for row in rows:
        for key, value in row.items():
            if line := _line(key):
                found.setdefault(line, []).append((row["step"], value if line.panel == "loss" else 100 * value))
    return found


def _draw_panel(
    axes: Axes, panel: str, curve: Mapping[_Line, Points], look: ArmLook, styles: Mapping[str, Style]
) -> None:
    shown = {line: points for line, points in curve.items() if line.panel == panel}
    for line, points in shown.items():
        steps, values = _thinned(points)
        is_training = line.part == "training" and panel != "loss"
        axes.plot(
            steps,
            values,
            color=INK if is_training else look.colour,
            linestyle=styles[line.weights],
            linewidth=_THIN if is_training else 1.4,
            marker=look.marker if len(steps) == 1 else "",  # a line through one point would not be seen
        )
    if not shown:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=MUTED)
    if panel != "loss":
        percent_axis(axes, top=103)
    axes.set_ylabel(_PANELS[panel])


def _mark_chosen(axes: Axes, panel: str, rows: Rows, training: Mapping[str, Any], look: ArmLook) -> None:
    chosen, chosen_by = training.get("chosen_step"), str(training.get("chosen_by"))
    if not chosen:
        return
    axes.axvline(chosen, color=MUTED, linewidth=_THIN, zorder=1)
    line = _line(chosen_by)
    scores = [100 * row[chosen_by] for row in rows if row["step"] == chosen and chosen_by in row]
    if scores and line and line.panel == panel:  # after a return from overfitting, a step has two rows
        axes.plot(chosen, scores[-1], look.marker, color=look.colour, markeredgecolor=INK, markersize=6)


def _mark_collapses(axes: Axes, rows: Rows) -> None:
    found = [
        (row["step"], 100 * row["training_robust"]) for row in rows if row.get("collapsed") and "training_robust" in row
    ]
    if found:
        axes.plot(*zip(*found, strict=True), "x", color=INK)


def _legend(figure: Figure, lines: Sequence[_Line], styles: Mapping[str, Style], *, collapsed: bool) -> None:
    accuracies = [line for line in lines if line.panel != "loss"]
    handles = {}
    for weights, style in styles.items():
        if any(line.part == "validation" and line.weights == weights for line in accuracies):
            name = f"validation, {weights.upper()} weights" if weights else "validation"
            handles[name] = Line2D([], [], color=INK, linestyle=style)
    if any(line.part == "training" for line in accuracies):
        handles["training"] = Line2D([], [], color=INK, linewidth=_THIN)
    if accuracies:
        handles["chosen step"] = Line2D(
            [], [], color=MUTED, markeredgecolor=INK, marker="o", markersize=6, linewidth=_THIN
        )
    if collapsed:
        handles["catastrophic overfitting"] = Line2D([], [], color=INK, marker="x", linestyle="")
    figure.legend(list(handles.values()), list(handles), loc="outside upper left", ncols=3)


def _thinned(points: Points) -> tuple[list[int], list[float]]:
    """At most ``_MAX_POINTS`` points: means over equal runs of points, at the last step of each run."""
    run = max(1, math.ceil(len(points) / _MAX_POINTS))
    groups = [points[start : start + run] for start in range(0, len(points), run)]
    return [group[-1][0] for group in groups], [sum(value for _, value in group) / len(group) for group in groups]
