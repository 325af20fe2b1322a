"""``robustaug report``: build a run's page again, compare runs, hold one to a baseline."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from robustaug.evaluation.report.compare import ComparedRun


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="A run folder with report.json; several, or report.json files, are compared.")
    ],
    against: Annotated[
        Path | None,
        typer.Option(help="A baseline to compare one run with: a run folder, or a report.json by any name."),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help='With --against: exit 1 where the difference, new minus baseline, is so: "robust_accuracy < -0.02"; '
            '"pgd[ARM] < 0" is for one arm. Repeatable.',
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if a check of the one run failed.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where a comparison is also written, as comparison.md and comparison.json.")
    ] = None,
) -> None:
    """Build a run's report.html, figures, summary.md and results.csv again; or compare several runs."""
    from robustaug.cli.finish import plain_console, print_results  # noqa: PLC0415 - torch loads only when needed
    from robustaug.errors import RobustAugError  # noqa: PLC0415
    from robustaug.evaluation.report import build_report, load_report  # noqa: PLC0415
    from robustaug.evaluation.report.gate import judge, parse_rule  # noqa: PLC0415

    if fail_if and against is None:
        raise RobustAugError("--fail-if holds a run to a baseline; name it with --against")
    if against is not None and len(runs) > 1:
        raise RobustAugError(f"--against compares one run with a baseline, not {len(runs)}; name one run")
    if against is None and len(runs) == 1:
        if out is not None:
            raise RobustAugError("--out is for comparisons; a run's report is built in its own folder")
        page = build_report(runs[0])
        print_results(plain_console(), load_report(runs[0]), page, (), strict=strict)
        return
    rules = [parse_rule(text) for text in fail_if or ()]
    compared = _compare([*([against] if against else []), *runs], out)
    if not rules:
        return
    rulings = judge(rules, *compared)
    for ruling in rulings:
        typer.echo(str(ruling))
    if any(ruling.fired for ruling in rulings):
        raise typer.Exit(1)


def _compare(paths: list[Path], out: Path | None) -> "list[ComparedRun]":
    """Print runs side by side, and write the same where the user wants it."""
    from robustaug.cli.finish import plain_console  # noqa: PLC0415
    from robustaug.evaluation.report.compare import (  # noqa: PLC0415
        compare_runs,
        comparison_json,
        comparison_markdown,
        comparison_table,
        corruption_lines,
        read_compared,
    )
    from robustaug.files import write_json, write_text  # noqa: PLC0415

    runs = read_compared(paths)
    rows = compare_runs(runs)
    console = plain_console()
    console.print(comparison_table(runs, rows))
    for line in corruption_lines(runs):
        console.print(line, markup=False, soft_wrap=True)
    if out is not None:
        write_text(out / "comparison.md", comparison_markdown(runs, rows))
        write_json(out / "comparison.json", comparison_json(runs, rows))
    return runs
