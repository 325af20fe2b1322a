"""Runs side by side: every arm on every metric, and what it gained on the same images."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from robustaug.errors import RobustAugError
from robustaug.evaluation.corruptions import corruption_errors, mean_corruption_error
from robustaug.evaluation.report.run_folder import load_report, read_report
from robustaug.evaluation.report.table import escaped, markdown_row
from robustaug.evaluation.report.wording import accuracy, eps_number, metric_names, metric_title, percent, signed_points
from robustaug.evaluation.results import ArmEvaluation, load_evaluation
from robustaug.evaluation.seeds import Spread, across_seeds
from robustaug.evaluation.statistics import Difference, paired_difference

# They do not depend on the threat model; every other metric is accuracy under a change of the stated norm and eps.
_UNATTACKED = ("clean", "unseen_style", "corruptions")


@dataclass(frozen=True)
class ComparedRun:
    """A run as it is compared.

    Attributes:
        name: what the columns call it.
        report: its ``report.json``, checked.
        evaluations: the verdicts of its arms, as far as they lie beside the report.
    """

    name: str
    report: Mapping[str, Any]
    evaluations: Mapping[str, ArmEvaluation]

    def metric(self, arm: str | None, name: str) -> Mapping[str, Any] | None:
        """``{"value", "low", "high", "n"}`` of an arm, or None where it was not measured."""
        found: Mapping[str, Any] | None = self.report["arms"].get(arm, {}).get("metrics", {}).get(name)
        return found


@dataclass(frozen=True)
class ComparedRow:
    """One metric of one arm over all runs.

    Attributes:
        metric: its name.
        arms: what the arm is called in each run; None where it has none.
        measured: the accuracy in each run; None where it was not measured.
        differences: for each run but the first, what it has more than the first on the same images; None where that
            is not known.
    """

    metric: str
    arms: tuple[str | None, ...]
    measured: tuple[Mapping[str, Any] | None, ...]
    differences: tuple[Difference | None, ...]


def read_compared(paths: Sequence[Path]) -> list[ComparedRun]:
    """Read run folders, or ``report.json`` files by whatever name.

    Raises:
        RobustAugError: as ``load_report``, a damaged evaluation, or one path given twice.
    """
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise RobustAugError(f"{name} is given twice; name different runs")
    return [_read(path, name) for path, name in zip(paths, names, strict=True)]


def _read(path: Path, name: str) -> ComparedRun:
    report = read_report(path) if path.suffix == ".json" and not path.is_dir() else load_report(path)
    folder = path if path.is_dir() else path.parent
    # A report by another name is a copy: what lies beside it belongs to something else.
    kept = path.is_dir() or path.name == "report.json"
    files = {arm: folder / "arms" / arm / "evaluation.safetensors" for arm in report["arms"]} if kept else {}
    evaluations = {arm: load_evaluation(file) for arm, file in files.items() if file.is_file()}
    return ComparedRun(name, report, evaluations)


def compare_runs(runs: Sequence[ComparedRun]) -> list[ComparedRow]:
    """Rows for every metric and arm; an arm is found again by its name, and the only arm of a run as the only one."""
    first, rows = runs[0], []
    names = {arm: tuple(_same_arm(first, run, arm) for run in runs) for arm in first.report["arms"]}
    for number, run in enumerate(runs[1:], 1):  # arms that the first run does not have
        known = {arms[number] for arms in names.values()}
        for arm in run.report["arms"]:
            if arm not in known and arm not in names:
                names[arm] = tuple(arm if arm in each.report["arms"] and each is not first else None for each in runs)
    every = metric_names(
        {"arms": {(run.name, arm): entry for run in runs for arm, entry in run.report["arms"].items()}}
    )
    for metric in every:
        for arms in names.values():
            measured = tuple(run.metric(arm, metric) for run, arm in zip(runs, arms, strict=True))
            if any(measured):
                differences = tuple(
                    difference(first, arms[0], run, arm, metric) for run, arm in zip(runs[1:], arms[1:], strict=True)
                )
                rows.append(ComparedRow(metric, arms, measured, differences))
    return rows


def difference(
    before: ComparedRun, arm_before: str | None, after: ComparedRun, arm_after: str | None, metric: str
) -> Difference | None:
    """What ``after`` has more than ``before``, image by image; None where they did not measure the same."""
    a, b = before.evaluations.get(arm_before or ""), after.evaluations.get(arm_after or "")
    if a is None or b is None or metric not in a.metrics or metric not in b.metrics:
        return None
    if a.samples.get(metric) != b.samples.get(metric) or unlike(before, after, metric):
        return None
    return paired_difference(a.verdicts[metric], b.verdicts[metric])


def unlike(before: ComparedRun, after: ComparedRun, metric: str) -> str | None:
    """Why a metric does not mean the same in two runs, in words; None where it does."""
    old, new = before.report, after.report
    if Path(old["data"]["name"]).name != Path(new["data"]["name"]).name:
        return "they were measured on different data"
    for key, what in (("classes", "classes"), ("image_size", "image sizes"), ("split", "parts of the data")):
        if old["data"].get(key) != new["data"].get(key):
            return f"they were measured on different {what}"
    if metric == "unseen_style" and _paintings(old) != _paintings(new):
        return "they were restyled with different paintings"
    if metric not in _UNATTACKED and _threat(old) != _threat(new):
        return "they are at different threat models"
    return None


def spread_over_seeds(runs: Sequence[ComparedRun]) -> Mapping[Any, Mapping[str, Spread]]:
    """Mean and deviation of each arm and metric; empty for runs that differ in more than their seed."""
    with suppress(RobustAugError):
        return across_seeds({run.name: run.report for run in runs})
    return {}


def against_first(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """The mean corruption error of each run's arms against those of the first run, where both were measured alike.

    Rows of ``{"run", "arm", "baseline_run", "baseline_arm", "corruption_error"}``.
    """
    first, rows = runs[0], []
    for run in runs[1:]:
        for arm, entry in first.report["arms"].items():
            other = _same_arm(first, run, arm)
            own = run.report["arms"].get(other, {}).get("corruptions")
            if not own or not entry.get("corruptions") or unlike(first, run, "corruptions"):
                continue
            with suppress(RobustAugError):  # other severities, or a baseline without errors
                value = mean_corruption_error(corruption_errors(own), corruption_errors(entry["corruptions"]))
                about = {"run": run.name, "arm": other, "baseline_run": first.name, "baseline_arm": arm}
                rows.append({**about, "corruption_error": value})
    return rows


def corruption_lines(runs: Sequence[ComparedRun]) -> list[str]:
    """The same in words, a line each."""
    return [
        "mCE of {arm} in {run} against {baseline_arm} in {baseline_run}: {corruption_error:.3f}".format(**row)
        for row in against_first(runs)
    ]


def comparison_table(runs: Sequence[ComparedRun], rows: Sequence[ComparedRow]) -> Table:
    """Accuracies in percent with 95% intervals, and differences in points, for ``rich.print``."""
    table = Table(
        title="Runs side by side", caption=_CAPTION, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD
    )
    headings, *cells = _grid(runs, rows)
    for number, heading in enumerate(headings):
        table.add_column(Text(heading), justify="left" if number < 2 else "right", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def comparison_markdown(runs: Sequence[ComparedRun], rows: Sequence[ComparedRow]) -> str:
    """The same table in Markdown."""
    headings, *cells = _grid(runs, rows)
    lines = [markdown_row(headings), markdown_row(["---", "---", *["---:"] * (len(headings) - 2)])]
    errors = [line for text in corruption_lines(runs) for line in ("", escaped(text))]
    return "\n".join([*lines, *map(markdown_row, cells), "", _CAPTION, *errors]) + "\n"


def comparison_json(runs: Sequence[ComparedRun], rows: Sequence[ComparedRow]) -> dict[str, Any]:
    """``{"runs", "rows": [{"metric", "values": {RUN: {"arm", ...}}, "differences": {RUN: {...}}}], "against_first"}``.

    Accuracies are fractions. A row of runs that differ in their seed alone has its ``spread``.
    """
    names, spreads = [run.name for run in runs], spread_over_seeds(runs)
    return {
        "runs": names,
        "rows": [
            {
                "metric": row.metric,
                "values": {
                    name: {"arm": arm, **measured}
                    for name, arm, measured in zip(names, row.arms, row.measured, strict=True)
                    if measured is not None
                },
                "differences": {
                    name: gained._asdict() for name, gained in zip(names[1:], row.differences, strict=True) if gained
                },
                **({"spread": spreads[row.arms[0]][row.metric].to_dict()} if spreads else {}),
            }
            for row in rows
        ],
        "against_first": against_first(runs),
    }


_CAPTION = (
    "Accuracy in percent with 95% interval. Differences from the first run in points with 95% interval, where both "
    "measured the same images in the same way."
)


def _grid(runs: Sequence[ComparedRun], rows: Sequence[ComparedRow]) -> list[list[str]]:
    """The table's cells, its headings first."""
    spreads = spread_over_seeds(runs)
    names = [run.name for run in runs]
    headings = ["Metric", "Arm", *names, *(f"{name} minus {names[0]}" for name in names[1:])]
    grid = [[*headings, f"mean ± deviation of {len(runs)} seeds"] if spreads else headings]
    for row in rows:
        arm = " / ".join(dict.fromkeys(filter(None, row.arms)))
        cells = [metric_title(row.metric), arm, *map(accuracy, row.measured), *map(_gained, row.differences)]
        spread = spreads[row.arms[0]][row.metric] if spreads else None
        grid.append([*cells, f"{percent(spread.mean)} ± {percent(spread.deviation)}"] if spread else cells)
    return grid


def _gained(difference: Difference | None) -> str:
    if difference is None:
        return ""
    value, low, high = map(signed_points, difference[:3])
    return f"{value} [{low}, {high}]"


def _same_arm(first: ComparedRun, run: ComparedRun, arm: str) -> str | None:
    theirs = list(run.report["arms"])
    if arm in theirs:
        return arm
    return theirs[0] if len(theirs) == len(first.report["arms"]) == 1 else None


def _paintings(report: Mapping[str, Any]) -> Any:
    return (report.get("style") or {}).get("held_out_paintings")


def _threat(report: Mapping[str, Any]) -> tuple[Any, ...]:
    threat = report["threat"]
    return threat["norm"], eps_number(threat["eps"]), tuple(threat.get("bounds") or ())
