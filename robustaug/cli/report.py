"""``robustaug report``: build a run's page again."""

from pathlib import Path
from typing import Annotated

import typer


def report(run_dir: Annotated[Path, typer.Argument(help="A run folder with report.json.")]) -> None:
    """Build report.html, its figures and summary.md again from a run's numbers."""
    from robustaug.cli.finish import plain_console, print_results  # noqa: PLC0415 - torch loads only when needed
    from robustaug.evaluation.report import build_report, load_report  # noqa: PLC0415

    page = build_report(run_dir)
    print_results(plain_console(), load_report(run_dir), page, ())
