"""The training curves: which numbers are drawn where, what is marked, and that the report alone holds them."""

import html
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robustaug.evaluation.report import build_report
from robustaug.evaluation.report.run_folder import RunFolder
from robustaug.evaluation.report.training_figure import training_curves
from robustaug.experiment.outcome import training_curve
from robustaug.look import INK, MUTED, chart_style

WriteRun = Callable[..., Path]
Rows = list[dict[str, Any]]

ROWS: Rows = [
    {"step": 10, "loss": 2.0, "validation_clean": 0.5, "validation_robust": 0.25, "validation_robust_ema": 0.125},
    {"step": 20, "loss": 1.0, "validation_clean": 0.75, "validation_robust": 0.5, "validation_robust_ema": 0.375},
    {"step": 30, "loss": 0.5, "validation_clean": 1.0, "validation_robust": 0.375, "validation_robust_ema": 0.5},
]


def figure_of(arms: dict[str, Rows], **training: Any) -> Figure | None:
    entries = {arm: {"training": training, "training_curve": rows} for arm, rows in arms.items()}
    with chart_style():
        return training_curves(RunFolder(Path(), {"arms": entries}, None, None, None))


def drawn(axes: Any) -> list[Line2D]:
    """The curves of a panel, without marks and upright lines."""
    return [line for line in axes.lines if line.get_linestyle() != "None" and len(set(line.get_xdata())) > 1]


def marks(axes: Any) -> list[tuple[str, float, float]]:
    lines = [line for line in axes.lines if line.get_marker() not in ("", "None", None)]
    return [(line.get_marker(), float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]


def upright(axes: Any) -> list[float]:
    return [line.get_xdata()[0] for line in axes.lines if list(line.get_xdata()) == 2 * [line.get_xdata()[0]]]


def words_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_known_rows_are_drawn_as_they_are() -> None:
    figure = figure_of({"adversarial": ROWS}, chosen_step=30, chosen_by="validation_robust_ema")
    assert figure is not None
    loss, clean, robust = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["training loss", "clean, %", "under attack, %"]
    assert loss.get_title(loc="left") == "adversarial"
    for axes, values in (
        (loss, [[2.0, 1.0, 0.5]]),
        (clean, [[50, 75, 100]]),
        (robust, [[25, 50, 37.5], [12.5, 37.5, 50]]),
    ):
        assert [list(line.get_ydata()) for line in drawn(axes)] == values
        assert all(list(line.get_xdata()) == [10, 20, 30] for line in drawn(axes))
        assert upright(axes) == [30]
    assert [line.get_linestyle() for line in drawn(robust)] == ["-", "--"]
    assert len({to_hex(line.get_color()) for axes in figure.axes for line in drawn(axes)}) == 1
    assert marks(robust) == [("s", 30, 50)]  # at the averaged weights, which were chosen
    assert marks(clean) == marks(loss) == []
    assert words_of(figure) == ["validation", "validation, EMA weights", "chosen step"]


def test_arms_share_their_axes_and_an_arm_without_a_history_is_left_out() -> None:
    short = [{"step": 5, "loss": 8.0, "validation_clean": 0.5}, {"step": 15, "loss": 4.0, "validation_clean": 0.5}]
    figure = figure_of({"adversarial": ROWS, "style": [], "clean": short}, chosen_step=15, chosen_by="validation_clean")
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes[::3]] == ["adversarial", "clean"]
    above, below = figure.axes[:3], figure.axes[3:]
    for first, second in zip(above, below, strict=True):
        assert first.get_xlim() == second.get_xlim() == (0, pytest.approx(31.2))
        assert first.get_ylim() == second.get_ylim()
    assert above[0].get_ylim()[0] == 0
    assert above[0].get_ylim()[1] >= 8
    assert [text.get_text() for text in below[2].texts] == ["not measured"]
    assert marks(below[1]) == [("o", 15, 50)]
    assert marks(above[1]) == []  # that arm has no row of step 15


def test_a_panel_that_no_arm_has_is_left_out() -> None:
    figure = figure_of({"clean": [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]})
    assert figure is not None
    assert [axes.get_ylabel() for axes in figure.axes] == ["training loss"]
    assert figure_of({"clean": [], "style": [{"step": 3, "seconds": 2.0}]}) is None


def test_training_accuracy_is_thin_and_averages_have_lines_of_their_own() -> None:
    rows = [
        {"step": step, "training_robust_running": 0.5, "validation_robust": 0.4, "validation_robust_ema": 0.3}
        | {"validation_robust_swa": 0.2, "train_accuracy": 0.1, "training_robust": 0.6, "images_per_second": 0.7}
        for step in (1, 2)
    ]
    figure = figure_of({"adversarial": rows})
    assert figure is not None
    (axes,) = figure.axes
    looks = {line.get_ydata()[0]: (to_hex(line.get_color()), line.get_linestyle()) for line in drawn(axes)}
    blue = looks[40][0]
    assert looks == {50: (INK, "-"), 40: (blue, "-"), 30: (blue, "--"), 20: (blue, ":")}
    assert blue not in (INK, MUTED)
    assert words_of(figure) == [
        "validation",
        "validation, EMA weights",
        "validation, SWA weights",
        "training",
        "chosen step",
    ]


@pytest.mark.parametrize("key", ["training_clean", "training_clean_batch"])
def test_clean_training_accuracy_is_drawn_under_either_name(key: str) -> None:
    figure = figure_of({"adversarial": [{"step": step, key: step / 4} for step in (1, 2)]})
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_ylabel() == "clean, %"
    assert [list(line.get_ydata()) for line in drawn(axes)] == [[25, 50]]


def test_a_collapse_and_the_return_from_it_are_shown() -> None:
    rows = [
        {"step": 10, "validation_robust": 0.5, "training_robust": 0.5},
        {"step": 20, "validation_robust": 0.125, "training_robust": 0.0625, "collapsed": True},
        {"step": 20, "validation_robust": 0.75, "training_robust": 0.5},
    ]
    figure = figure_of({"adversarial": rows}, chosen_step=20, chosen_by="validation_robust")
    assert figure is not None
    (axes,) = figure.axes
    assert marks(axes) == [("s", 20, 75), ("x", 20, 6.25)]
    assert "catastrophic overfitting" in words_of(figure)


def test_a_single_look_is_seen() -> None:
    figure = figure_of({arm: [{"step": 40, "loss": 1.5}] for arm in ("clean", "adversarial")})
    assert figure is not None
    assert [marks(axes) for axes in figure.axes] == [[("o", 40, 1.5)], [("s", 40, 1.5)]]


def test_long_histories_are_averaged() -> None:
    figure = figure_of({"clean": [{"step": step, "loss": float(step)} for step in range(1, 1001)]})
    assert figure is not None
    (line,) = figure.axes[0].lines
    assert np.array_equal(line.get_xdata(), np.arange(5, 1001, 5))
    assert np.array_equal(line.get_ydata(), np.arange(3, 1000, 5))  # the mean of five steps


def test_the_page_is_built_from_the_report_alone(tmp_path: Path, write_run: WriteRun) -> None:
    def change(report: dict[str, Any]) -> None:
        for entry in report["arms"].values():
            entry["training_curve"] = ROWS

    run = write_run(tmp_path / "run", change)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(run / "report.json", alone)
    source = build_report(alone).read_text()
    described = html.unescape(re.search(r'aria-label="(Line charts by optimisation step[^"]*)"', source)[1])
    assert described.count("training loss from 2 to 0.5") == 4
    assert (
        "style: training loss from 2 to 0.5, validation accuracy clean 100.0% at the end, "
        "validation accuracy under attack 37.5% at the end." in described
    )
    assert source.count('id="training-figure_1"') == 1
    (run / "arms" / "clean").mkdir(parents=True)
    (run / "arms" / "clean" / "history.jsonl").write_text('{"step": 1, "loss": 9.0}\n')
    build_report(run)
    assert (run / "figures" / "training.svg").read_bytes() == (alone / "figures" / "training.svg").read_bytes()


def test_the_report_keeps_the_numbers_of_a_history() -> None:
    row = {"step": 4, "loss": 0.5, "validation_clean_swa": 1, "collapsed": True}
    odd = {"note": "text", "nothing": None, "list": [1], "loss_2": float("nan"), "loss_3": float("inf")}
    assert training_curve([row | odd, {"step": 8}]) == [row, {"step": 8}]
