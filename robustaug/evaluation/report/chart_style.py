"""What the report's charts share: axes, marks and the legend."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robustaug.evaluation.report.wording import arm_looks, eps_number, eps_text, norm_text, percent, shortened
from robustaug.look import INK, MUTED


def percent_axis(axes: Axes, top: float) -> None:
    """A vertical axis of accuracy from 0 to ``top`` percent."""
    axes.set_ylim(0, top)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("accuracy, %")


def levels_axis(axes: Axes) -> None:
    """Whole 8-bit levels on the horizontal axis, written ``4/255``, at most eight of them after 0."""
    end = axes.get_xlim()[1]
    steps = (width * 10**power for power in range(3) for width in (1, 2, 4, 5))
    step = next(step for step in steps if end * 255 <= 8 * step or step == 500)
    levels = range(0, int(end * 255 + 1e-6) + 1, step)
    axes.set_xticks([level / 255 for level in levels], [f"{level}/255" if level else "0" for level in levels])


def eps_axis(axes: Axes, report: Mapping[str, Any]) -> None:
    """Attack radii on the horizontal axis, from 0, the stated one marked."""
    threat = report["threat"]
    stated = eps_number(threat["eps"])
    axes.axvline(stated, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.annotate(
        f"stated eps {eps_text(threat['eps'])}",
        (stated, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(4, -3),
        textcoords="offset points",
        va="top",
        fontsize=8,
    )
    axes.set_xlim(left=0)
    if eps_text(threat["eps"]).endswith("/255"):
        levels_axis(axes)
    axes.set_xlabel(f"eps ({norm_text(threat['norm'])} radius)")


def chance_line(axes: Axes, report: Mapping[str, Any]) -> None:
    """A dotted line at the accuracy of guessing, where the report states it."""
    chance = report.get("chance")
    if chance is None:
        return
    axes.axhline(100 * chance, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
    axes.annotate(
        f"guessing\n{percent(chance)}",
        (1.0, 100 * chance),
        xycoords=axes.get_yaxis_transform(),
        xytext=(3, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        fontsize=7.5,
        color=MUTED,
    )


def arm_legend(figure: Figure, arms: list[str], *, patches: bool = False) -> None:
    """The arms' names and looks above the charts; ``patches`` for bars."""
    looks = arm_looks(arms)
    handles = [
        Line2D(
            [],
            [],
            color=looks[arm].colour,
            marker="s" if patches else looks[arm].marker,
            linestyle="" if patches else looks[arm].line,
        )
        for arm in arms
    ]
    figure.legend(handles, [shortened(arm) for arm in arms], loc="outside upper left", ncols=min(len(arms), 4))
