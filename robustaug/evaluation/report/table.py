"""The results table, for the terminal and for a README."""

import html
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from robustaug.evaluation.report.groups import groups_line
from robustaug.evaluation.report.verdict import doubts, failed_checks, robust_metric, undecided, verdict
from robustaug.evaluation.report.wording import (
    accuracy,
    effort,
    eps_text,
    measured_image,
    metric_names,
    metric_title,
    norm_text,
    percent,
)

_ACROSS = 6  # metrics; more go down, and the arms across
_DOUBTED = " †"  # behind a headline number that a failed check puts in doubt


def results_table(report: Mapping[str, Any]) -> Table:
    """Accuracy of every arm on every metric in percent with 95% interval, for ``rich.print``."""
    table = Table(
        title=Text(_title(report)),
        caption=Text(_caption(report)),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    heading, *rows = _grid(report)
    table.add_column(Text(heading[0]), no_wrap=True)
    for cell in heading[1:]:
        table.add_column(Text(cell), justify="right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: a name with brackets is no markup
    return table


def markdown_table(report: Mapping[str, Any]) -> str:
    """The same table in Markdown, with a line that says what the numbers are."""
    heading, *rows = [[cell.replace("\n", ", ") for cell in row] for row in _grid(report)]
    lines = [markdown_row(heading), markdown_row(["---", *["---:"] * (len(heading) - 1)])]
    lines += [markdown_row(row) for row in rows]
    return "\n".join(lines) + f"\n\n{escaped(_caption(report))}\n"


def summary(report: Mapping[str, Any]) -> str:
    """The verdict, the table and a line on groups in Markdown: what ``summary.md`` holds."""
    sentences = filter(None, [*verdict(report), undecided(report)])
    parts = [f"# {escaped(_title(report))}", *map(escaped, sentences), markdown_table(report).rstrip()]
    if line := groups_line(report):
        parts.append(escaped(line))
    parts += [escaped(line) for line in (_shape_line(report), _corruption_line(report)) if line]
    failed = failed_checks(report)
    if failed:
        lines = [f"- {check['name']} ({check['arm'] or 'all arms'}): {check['detail']}" for check in failed]
        parts.append(f"**Failed checks** ({len(failed)} of {len(report['checks'])}):")
        parts.append("\n".join(map(escaped, lines)))
    return "\n\n".join(parts) + "\n"


def _shape_line(report: Mapping[str, Any]) -> str:
    """The shape bias of every arm that has one; empty without."""
    found = {arm: entry["shape_bias"] for arm, entry in report["arms"].items() if entry.get("shape_bias")}
    listed = [
        f"{arm} {accuracy(bias['bias'])} (n {bias['bias']['n']:,}, neither {percent(bias['neither']['value'])})"
        for arm, bias in found.items()
    ]
    return f"Shape bias in percent, decisions for shape over those for shape or texture: {'; '.join(listed)}." * bool(
        found
    )


def _corruption_line(report: Mapping[str, Any]) -> str:
    """The mean corruption error of every arm that has one; empty without."""
    found = {arm: entry["corruption_error"] for arm, entry in report["arms"].items() if entry.get("corruption_error")}
    listed = [f"{arm} {error['value']:.3f} against {error['baseline']}" for arm, error in found.items()]
    return f"Mean corruption error (mCE; 1 is as good, less is better): {'; '.join(listed)}." if listed else ""


def _grid(report: Mapping[str, Any]) -> list[list[str]]:
    """The table with its heading first: arms down and metrics across, or the other way round if there are many."""
    headings, rows = [_heading(report, metric) for metric in metric_names(report)], _rows(report)
    if len(headings) <= _ACROSS:
        return [["Arm", *headings], *rows]
    columns = zip([heading.replace("\n", ", ") for heading in headings], *(row[1:] for row in rows), strict=True)
    return [["Metric", *(row[0] for row in rows)], *map(list, columns)]


def _rows(report: Mapping[str, Any]) -> list[list[str]]:
    names = metric_names(report)
    sizes, headline = _shared_sizes(report), robust_metric(report)
    rows = []
    for arm, entry in report["arms"].items():
        cells = []
        for name in names:
            metric = entry["metrics"].get(name)
            own_size = f" (n {metric['n']:,})" if metric is not None and sizes[name] is None else ""
            doubted = _DOUBTED if name == headline and metric is not None and doubts(report, arm) else ""
            cells.append(accuracy(metric) + own_size + doubted)
        rows.append([arm, *cells])
    return rows


def _shared_sizes(report: Mapping[str, Any]) -> dict[str, int | None]:
    """The number of images behind each metric where all arms share it, else None."""
    found = {
        name: {arm["metrics"][name]["n"] for arm in report["arms"].values() if name in arm["metrics"]}
        for name in metric_names(report)
    }
    return {name: sizes.pop() if len(sizes) == 1 else None for name, sizes in found.items()}


def _heading(report: Mapping[str, Any], metric: str) -> str:
    size = _shared_sizes(report)[metric]
    return metric_title(metric) + (f"\nn {size:,}" if size is not None else "")


def _title(report: Mapping[str, Any]) -> str:
    return f"Robustness of {report['name']}"


def _caption(report: Mapping[str, Any]) -> str:
    threat = report["threat"]
    attacks = [f"{metric_title(name)}: {effort(report, name)}" for name in metric_names(report) if effort(report, name)]
    doubted = robust_metric(report) is not None and any(doubts(report, arm) for arm in report["arms"])
    return (
        f"Accuracy in percent with 95% interval; n {measured_image(report)}s. "
        f"{norm_text(threat['norm'])} eps {eps_text(threat['eps'])}"
        + (f"; {'; '.join(attacks)}." if attacks else ".")
        + (f"{_DOUBTED}: a check failed, so the number is in doubt." if doubted else "")
    )


def markdown_row(cells: list[str]) -> str:
    """One row of a Markdown table; no cell can end it."""
    return "| " + " | ".join(escaped(cell).replace("|", "\\|") for cell in cells) + " |"


def escaped(text: str) -> str:
    """Text on one line that Markdown shows as text."""
    return html.escape(" ".join(text.split()), quote=False)
