"""Several runs of one experiment that differ in their seed alone, as one table: an arm a row, mean and spread.

    python benchmarks/arms.py RUN_DIR... [--json FILE]

It measures nothing: it reads each folder's ``report.json``, as ``robustaug run`` wrote it. A cell is the mean over the
seeds and their sample standard deviation, in percent. Runs that differ in anything but the seed are refused.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustaug.errors import RobustAugError
from robustaug.evaluation.report import load_report
from robustaug.evaluation.report.wording import eps_text, metric_names, metric_title, norm_text, percent
from robustaug.evaluation.seeds import Spread, across_seeds


def cell(spread: Spread | None) -> str:
    """``61.3 ± 0.8`` in percent."""
    return "not measured" if spread is None else f"{percent(spread.mean)} ± {percent(spread.deviation)}"


def table(spreads: Mapping[str, Mapping[str, Spread]], metrics: list[str]) -> str:
    """The rows in Markdown; the number of images stands in the heading, or in the cell where arms differ in it."""
    sizes = {metric: {row[metric].n for row in spreads.values() if metric in row} for metric in metrics}
    headings = [metric_title(name) + (f", n {min(sizes[name]):,}" if len(sizes[name]) == 1 else "") for name in metrics]
    lines = [["Arm", *headings], ["---", *["---:"] * len(metrics)]]
    for arm, row in spreads.items():
        own = {name: f" (n {row[name].n:,})" if len(sizes[name]) > 1 and name in row else "" for name in metrics}
        lines.append([arm, *(cell(row.get(name)) + own[name] for name in metrics)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    try:
        reports: dict[str, Mapping[str, Any]] = {str(run): load_report(run) for run in arguments.runs}
        spreads = across_seeds(reports)
    except RobustAugError as error:
        sys.exit(str(error))
    first = next(iter(reports.values()))
    threat = f"{norm_text(first['threat']['norm'])} eps {eps_text(first['threat']['eps'])}"
    seeds = sorted(report["seed"] for report in reports.values())
    print(table(spreads, metric_names(first)))
    print(
        f"\n{first['name']}: accuracy in percent, mean ± standard deviation over {len(seeds)} seeds "
        f"({', '.join(map(str, seeds))}); n test images each; {threat}."
    )
    if arguments.json is not None:
        rows = [
            {"case": first["name"], "arm": arm, "metric": metric, **spread.to_dict()}
            for arm, row in spreads.items()
            for metric, spread in row.items()
        ]
        content = {"hardware": first["hardware"], "versions": first["versions"], "seeds": seeds, "rows": rows}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
