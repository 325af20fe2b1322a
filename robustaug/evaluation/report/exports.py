"""The numbers for other tools: a CSV, and one file an arm in the layout of RobustBench."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustaug.evaluation.report.wording import eps_text, metric_names
from robustaug.files import write_json, write_text

CSV_COLUMNS = ("run", "arm", "metric", "value", "low", "high", "n")
_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}  # as RobustBench's folders spell them


def write_exports(run_dir: Path, report: Mapping[str, Any]) -> None:
    """Write ``results.csv`` and, for each arm with an AutoAttack number, ``arms/ARM/robustbench.json``.

    Raises:
        RobustAugError: a file cannot be written.
    """
    write_text(run_dir / "results.csv", results_csv(report))
    for arm in report["arms"]:
        entry = robustbench_entry(report, arm)
        folder = (run_dir / "arms" / arm).resolve()
        if entry is not None and folder.is_relative_to((run_dir / "arms").resolve()):  # a name, not a way out
            write_json(folder / "robustbench.json", entry)


def results_csv(report: Mapping[str, Any]) -> str:
    """Every metric of every arm in a line, and its shape bias, values as fractions."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for arm, entry in report["arms"].items():
        for metric in metric_names(report):
            if (measured := entry["metrics"].get(metric)) is not None:
                writer.writerow([report["name"], arm, metric, *(measured[key] for key in CSV_COLUMNS[3:])])
        if bias := entry.get("shape_bias"):
            writer.writerow([report["name"], arm, "shape_bias", *(bias["bias"][key] for key in CSV_COLUMNS[3:])])
    return text.getvalue()


def robustbench_entry(report: Mapping[str, Any], arm: str) -> dict[str, Any] | None:
    """An arm as RobustBench (Croce et al. 2021) has it in its ``model_info``; None without AutoAttack.

    Accuracies are percentages with two decimals, as text. Fields that this project does not know (``link``, ``name``,
    ``authors``, ``venue``, ``additional_data``, ``number_forward_passes``) are left to the author. Beside RobustBench's
    own stand ``norm``, which it keeps in the folder's name, and how many images were measured.

    ``unreliable`` is what RobustBench calls an evaluation in doubt: here, one with a failed check.
    """
    metrics = report["arms"][arm]["metrics"]
    clean, robust = metrics.get("clean"), metrics.get("autoattack")
    parameters = report["attacks"].get("autoattack") or {}
    if clean is None or robust is None or parameters.get("version", "standard") != "standard":
        return None
    threat = report["threat"]
    entry = {
        "dataset": Path(report["data"]["name"]).name,
        "norm": _NORMS.get(threat["norm"], threat["norm"]),
        "eps": eps_text(threat["eps"]),
        "clean_acc": f"{100 * clean['value']:.2f}",
        "autoattack_acc": f"{100 * robust['value']:.2f}",
        "unreliable": any(not check["passed"] and check["arm"] in (arm, None) for check in report["checks"]),
        "clean_n_examples": clean["n"],
        "autoattack_n_examples": robust["n"],
    }
    network = ((report.get("config") or {}).get("model") or {}).get("name")
    return entry if network is None else entry | {"architecture": network}
