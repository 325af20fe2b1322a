"""What commands that end in a report share: the table, the checks, where the report is, what was skipped."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from robustaug.cli.listing import list_skipped
from robustaug.data import Skipped
from robustaug.evaluation.report import load_report, results_table
from robustaug.evaluation.report.verdict import failed_checks
from robustaug.experiment import ExperimentConfig, run_experiment

_WIDTH = 120


def plain_console() -> Console:
    """Standard output without colours for numbers; wide enough for the table where it is not a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


def run_and_print(config: ExperimentConfig, out: Path, *, resume: bool, strict: bool = False) -> None:
    """Run an experiment and print its results; exits as ``print_results``."""
    console = plain_console()
    outcome = run_experiment(config, out, resume=resume, console=console)
    print_results(console, load_report(out), outcome.report, outcome.skipped, strict=strict)


def print_results(
    console: Console, content: Mapping[str, Any], page: Path, skipped: Sequence[Skipped], *, strict: bool = False
) -> None:
    """Print the table, the failed checks and the report's path.

    Exits 1 if some input files could not be used, and with ``strict`` if a check failed.
    """
    console.print(results_table(content))
    failed = failed_checks(content)
    for check in failed:
        line = f"Check failed ({check['arm'] or 'data'}): {check['name']}: {check['detail']}"
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"{len(content['checks']) - len(failed)} of {len(content['checks'])} checks passed")
    console.print(f"Report: {page}", markup=False, soft_wrap=True)
    if skipped:
        list_skipped(skipped)
    if skipped or (strict and failed):
        raise typer.Exit(1)
