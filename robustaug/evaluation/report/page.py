"""The report page: one self-contained HTML file from a run folder."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from robustaug.evaluation.groups import SMALL
from robustaug.evaluation.report import groups, sections, wording
from robustaug.evaluation.report.exports import write_exports
from robustaug.evaluation.report.figures import DRAWINGS, classes_shown, draw_figures
from robustaug.evaluation.report.frame import environment, style_and_script
from robustaug.evaluation.report.run_folder import RunFolder, read_run
from robustaug.evaluation.report.samples import LARGEST_SIDE, draw_grids, page_samples
from robustaug.evaluation.report.table import summary
from robustaug.evaluation.report.training_figure import training_words
from robustaug.evaluation.report.verdict import failed_checks, undecided, verdict
from robustaug.files import write_text
from robustaug.look import inline_svg

_SKIPPED_SHOWN = 200


def build_report(run_dir: Path) -> Path:
    """Write ``figures/``, ``summary.md``, ``results.csv`` and ``report.html`` of a run folder, each atomically.

    The page is written last. An arm with an AutoAttack number also gets its ``robustbench.json``.

    The same run folder gives the same bytes.

    Args:
        run_dir: A run folder with ``report.json``; ``samples/`` and ``config.toml`` are shown where they are.

    Returns:
        The path of ``report.html``.

    Raises:
        RobustAugError: the folder is no finished run, one of its files is damaged, or a file cannot be written.
    """
    run = read_run(run_dir)
    figures = run_dir / "figures"
    written = {*draw_figures(run, figures), *draw_grids(run, figures)}
    _remove_stale(figures, written)
    write_text(run_dir / "summary.md", summary(run.report))
    write_exports(run_dir, run.report)
    page = run_dir / "report.html"
    write_text(page, render(run))
    return page


def render(run: RunFolder) -> str:
    """The page's HTML; the charts are read from the run's ``figures/``."""
    templates = environment()
    templates.filters |= {"radius": sections.radius, "flat": flat, "unbroken": unbroken, "points": groups.points}
    shown = _shown(run)
    return templates.get_template("page.html.j2").render(sections=sections.sections(shown), **shown)


def _shown(run: RunFolder) -> dict[str, Any]:
    """What the templates get; where a section has an entry of its own name, an empty one leaves the section out."""
    report = {"style": None, "comparisons": [], "config": None, "protocol": None} | run.report
    adversarial, stylised, conflicts = page_samples(run)
    failed = failed_checks(report)
    classes = report["data"]["classes"]
    return {
        "report": report,
        **style_and_script(),
        "verdict": verdict(report),
        "undecided": undecided(report),
        "failed": failed,
        "passed": passed_checks(report),
        "norm": wording.norm_text(report["threat"]["norm"]),
        "image": wording.measured_image(report),
        "failed_arms": {check["arm"] for check in failed},
        "looks": wording.arm_looks(report["arms"]),
        "metrics": [
            {
                "name": name,
                "title": wording.metric_title(name),
                "meaning": wording.meaning(report, name),
                "effort": wording.effort(report, name),
            }
            for name in wording.metric_names(report)
        ],
        "blind": [name for name in wording.metric_names(report) if name in ("square", "transfer")],
        "beside": sections.beside(report),
        "not_measured": sections.not_measured(report),
        "charts": _charts(run),
        "curve_eps": _curve_eps(report),
        "distances": sections.by_arm(report, "distances"),
        "stages": sections.stages(report),
        "transfer": sections.by_arm(report, "transfer"),
        "corruptions": sections.corruptions(report),
        "corruption_error": sections.by_arm(report, "corruption_error"),
        "heat": sections.heat,
        "strength": sections.by_arm(report, "style_strength"),
        "shape": sections.by_arm(report, "shape_bias"),
        "conflicts": conflicts,
        "class_metrics": sections.class_metrics(report),
        "worst_classes": sections.worst_classes(report),
        "classes_cut": len(classes_shown(report)) if len(classes_shown(report)) < len(classes) else None,
        "groups": report.get("groups") or [],
        "gap_rows": groups.gap_rows(report),
        "widened": groups.widened(report),
        "too_small": groups.too_small,
        "group_names": groups.group_names,
        "training_arms": groups.training_arms,
        "small_group": SMALL,
        "balance": report.get("balance"),
        "balance_tables": groups.balance_tables(report),
        "confusion": sections.confusions(report),
        "adversarial": adversarial,
        "adversarial_facts": run.adversarial or {},
        "stylised": stylised,
        "largest_side": LARGEST_SIDE,
        "training": _training_facts(report),
        "comparisons": report["comparisons"],
        "significance": wording.SIGNIFICANCE,
        "parameters": report["attacks"] or report["style"],
        "skipped_shown": _SKIPPED_SHOWN,
        "command": sections.reproduce(report),
        "has_config": run.config_toml is not None,
        "config": run.config_toml
        or (json.dumps(report["config"], indent=2, ensure_ascii=False) if report["config"] else None),
    }


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested names and values in words, as ``("outer: inner", "text")`` pairs."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            pairs += flat(value, f"{prefix}{wording.words(key)}: ")
        else:
            pairs.append((f"{prefix}{wording.words(key)}", wording.fact(key, value)))
    return pairs


def unbroken(text: str) -> str:
    """Text whose intervals and p values do not break across lines."""
    return re.sub(r"\[[^\]]*\]|p [<=] [\d.]+", lambda found: found[0].replace(" ", "\u00a0"), text)


def _charts(run: RunFolder) -> dict[str, Markup]:
    arms = f"the arms {', '.join(run.report['arms'])}"
    below = "The numbers are in the table below the chart."
    descriptions = {
        "accuracy": f"Bar chart with 95% intervals: accuracy of {arms} on each metric, as in the results table.",
        "eps": f"Line chart with 95% bands: accuracy of {arms} against the attack's eps. {below}",
        "distances": f"Falling steps: share of images of {arms} that are right and not broken by a change of each "
        f"size. {below}",
        "strength": f"Line chart with 95% bands: accuracy of {arms} on images in unseen styles of growing strength. "
        f"{below}",
        "classes": f"Dot plot: accuracy of {arms} on each class. {below}",
        "training": training_words(run.report),
    }
    folder = run.path / "figures"
    return {
        drawing.name: inline_svg(path.read_text(encoding="utf-8"), drawing.name, descriptions[drawing.name])
        for drawing in DRAWINGS
        if (path := folder / f"{drawing.name}.svg").is_file()
    }


def _curve_eps(report: Mapping[str, Any]) -> list[tuple[float, str, dict[str, dict[str, Any]]]]:
    """The eps curve by eps: (number, text, point of each arm)."""
    table: dict[float, tuple[float, str, dict[str, dict[str, Any]]]] = {}
    for arm, entry in report["arms"].items():
        for point in entry.get("eps_curve") or []:
            eps = wording.eps_number(point["eps"])
            table.setdefault(eps, (eps, wording.eps_text(point["eps"]), {}))[2][arm] = point
    return [table[eps] for eps in sorted(table)]


def _training_facts(report: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """How each arm was trained: (name, text of each arm), an empty text where an arm has no such entry."""
    columns: list[dict[str, str]] = []
    for entry in report["arms"].values():
        mix = [f"{100 * share:.4g}% {kind}" for kind, share in (entry.get("mix") or {}).items() if share]
        facts = {"description": entry.get("description", ""), "mix": ", ".join(mix)}
        columns.append(facts | dict(flat(entry.get("training") or {})))
    if all(column["description"] == column["mix"] for column in columns):  # the same said twice
        columns = [{name: text for name, text in column.items() if name != "description"} for column in columns]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [(name, [column.get(name, "") for column in columns]) for name in names]
    return [row for row in rows if any(row[1])]


def passed_checks(report: Mapping[str, Any]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """The checks that passed, by name: (name, for which arms in words, the checks)."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for check in report["checks"]:
        if check["passed"]:
            groups.setdefault(check["name"], []).append(check)
    every = len(report["arms"])
    rows = []
    for name, checks in groups.items():
        arms = [check["arm"] for check in checks if check["arm"] is not None]
        scope = ""
        if arms and every > 1:
            scope = f" (all {every} arms)" if len(set(arms)) == every else f" ({', '.join(arms)})"
        rows.append((name, scope, checks))
    return rows


def _remove_stale(folder: Path, written: set[str]) -> None:
    """Remove charts of an earlier build that this one has no numbers for."""
    own = {f"{drawing.name}.svg" for drawing in DRAWINGS} | {"accuracy.png", "adversarial.png", "stylised.png"}
    for name in own - written:
        (folder / name).unlink(missing_ok=True)
