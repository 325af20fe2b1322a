"""The data-efficiency figure: accuracy against the number of originals, with and without the techniques."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from robustaug.evaluation.report.chart_style import chance_line
from robustaug.evaluation.report.wording import metric_title
from robustaug.look import WIDTH, chart_style, save_png, save_svg

NAME = "data_efficiency"
_LOOKS = {"full": ("#009e73", "D", "-"), "bare": ("#7c8794", "o", "--")}  # colour, marker, line
_TITLES = {"full": "all techniques", "bare": "no technique"}


def draw_curve(content: Mapping[str, Any], folder: Path) -> Path | None:
    """Write ``data_efficiency.svg`` and ``.png``; None where there is one share of the originals only.

    A panel a metric; a line joins the means over seeds, a small dot is one seed.
    """
    curve = content["curve"]
    metrics = list(content["cells"][content["full"]]["metrics"])
    if len(curve) < 2:
        return None
    values = [
        seed["value"]
        for entry in content["cells"].values()
        for found in entry["metrics"].values()
        for seed in found["by_seed"]
    ]
    with chart_style():
        figure = Figure(figsize=(WIDTH, 2.7 * ((len(metrics) + 1) // 2)), layout="constrained")
        panels = figure.subplots((len(metrics) + 1) // 2, 2, sharey=True, squeeze=False).flatten()
        for axes, metric in zip(panels, metrics, strict=False):
            _panel(axes, content, metric)
        panels[0].set_ylim(0, 107 * max(values))
        for axes in panels[len(metrics) :]:
            axes.remove()
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
        save_svg(figure, folder / f"{NAME}.svg")
        save_png(figure, folder / f"{NAME}.png")
    return folder / f"{NAME}.svg"


def _panel(axes: Axes, content: Mapping[str, Any], metric: str) -> None:
    curve = content["curve"]
    sizes = [sum(point["train"]) / len(point["train"]) for point in curve]
    for kind, (colour, marker, line) in _LOOKS.items():
        found = [content["cells"][point[kind]]["metrics"][metric] for point in curve]
        for size, entry in zip(sizes, found, strict=True):
            each = [100 * seed["value"] for seed in entry["by_seed"]]
            axes.plot([size] * len(each), each, ".", color=colour, alpha=0.5, markersize=4)
        means = [100 * entry["mean"] for entry in found]
        axes.plot(sizes, means, color=colour, marker=marker, linestyle=line, label=_TITLES[kind])
    axes.set_title(metric_title(metric))
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{round(size):,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training originals")
    axes.set_ylabel("accuracy, %")
    chance_line(axes, content)
