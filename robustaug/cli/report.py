"""``robustaug report``: build a run's page again."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def report(run_dir: Annotated[Path, typer.Argument(help="A run folder with report.json.")]) -> None:
    """Build report.html, its figures and summary.md again from a run's numbers."""
    from robustaug.evaluation.report import build_report, load_report, results_table  # noqa: PLC0415

    console = Console(highlight=False)
    page = build_report(run_dir)
    console.print(results_table(load_report(run_dir)))
    console.print(f"Report: {page}", markup=False, soft_wrap=True)
