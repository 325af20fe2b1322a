"""The tables of an ablation in Markdown, aligned: they read as well in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from robustaug.evaluation.report.wording import (
    NOT_MEASURED,
    effort,
    eps_text,
    metric_title,
    norm_text,
    percent,
    plural,
    signed_points,
)
from robustaug.experiment.ablation.results import METRICS

TOLD = "*"  # behind a difference whose interval does not hold 0


def ablation_markdown(content: Mapping[str, Any]) -> str:
    """What ``ablation.md`` holds and the command prints."""
    parts = [
        f"# Ablation of {content['name']}, arm {content['arm']}",
        "## Each technique off in turn",
        markdown_table(["Configuration", *titles()], technique_rows(content)),
        caption(content),
    ]
    if len(content["curve"]) > 1:
        parts += [
            "## With fewer originals",
            markdown_table(["Originals", "Training", *titles()], curve_rows(content)),
            "The second number is what the full configuration has more than no technique on the same originals. The "
            "test images are the same, a smaller share of the originals lies in a larger one, and every training has "
            "the same number of steps.",
        ]
    return "\n\n".join(parts) + "\n"


def titles() -> list[str]:
    """Headings of the columns of metrics."""
    return [metric_title(metric) for metric in METRICS]


def technique_rows(content: Mapping[str, Any]) -> list[list[str]]:
    """The full configuration, each technique off, and all of them off."""
    rows = []
    for name, entry in content["cells"].items():
        if entry["share"] == 1:
            cells = [value(entry, metric, entry.get("differences")) for metric in METRICS]
            rows.append([cell_title(content, name), *cells])
    return rows


def curve_rows(content: Mapping[str, Any]) -> list[list[str]]:
    """Two rows for each share of the originals."""
    rows = []
    for point in content["curve"]:
        full, bare = content["cells"][point["full"]], content["cells"][point["bare"]]
        where = f"{point['share']:.0%} ({originals(point)})"
        rows.append([where, "no technique", *(value(bare, metric) for metric in METRICS)])
        rows.append([where, "full", *(value(full, metric, point["gained"]) for metric in METRICS)])
    return rows


def value(entry: Mapping[str, Any], metric: str, differences: Mapping[str, Any] | None = None) -> str:
    """``68.2 ± 0.9 (-1.9 [-3.3, -0.5]*)`` in percent: mean, deviation over seeds, a difference with its interval."""
    found = entry["metrics"].get(metric)
    if found is None:
        return NOT_MEASURED
    spread = "" if found["deviation"] is None else f" ± {percent(found['deviation'])}"
    behind = f" ({difference_text(differences[metric])})" if differences else ""
    return percent(found["mean"]) + spread + behind


def difference_text(difference: Mapping[str, Any]) -> str:
    """``-1.9 [-3.3, -0.5]*``, in points; the star where the interval does not hold 0."""
    low, high = difference["low"], difference["high"]
    star = TOLD if low > 0 or high < 0 else ""
    return f"{signed_points(difference['value'])} [{signed_points(low)}, {signed_points(high)}]{star}"


def cell_title(content: Mapping[str, Any], name: str) -> str:
    """A cell in words: ``full``, ``without flip``, ``no technique``."""
    if name == content["bare"] and len(content["techniques"]) > 1:
        return "no technique"
    return name.replace("without-", "without ").replace("_", " ")


def originals(point: Mapping[str, Any]) -> str:
    """The number of training originals: ``294``, or ``293 to 295`` where seeds differ."""
    fewest, most = min(point["train"]), max(point["train"])
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"


def caption(content: Mapping[str, Any]) -> str:
    """What the numbers are, in a few sentences."""
    threat, seeds = content["threat"], content["seeds"]
    numbers = {metric: entry["n"] for metric, entry in content["cells"][content["full"]]["metrics"].items()}
    measured = ", ".join(f"{metric_title(metric)} on {n:,}" for metric, n in numbers.items())
    several = f"mean ± standard deviation over {plural(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
    spread = several if len(seeds) > 1 else f"of seed {seeds[0]} alone, whose luck is not in the intervals"
    missing = [metric_title(metric) for metric in METRICS if metric not in numbers]
    absent = f" {' and '.join(missing)}: not measured, as the protocol has no samples for it." if missing else ""
    return (
        f"Accuracy in percent, {spread}. The second number is the difference from the full configuration in points, on "
        "the same test images and seeds, with its 95% interval; * where the interval does not hold 0, as one in twenty "
        "does by chance. "
        f"{plural(content['steps'], 'step')} of {content['batch_size']} images each. "
        f"Test images: {measured}. {norm_text(threat['norm'])} eps {eps_text(threat['eps'])}; "
        f"PGD: {effort(content, 'pgd')}.{absent}"
    )


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns stand below each other; the first is left-aligned, the rest right."""
    every = [[cell.replace("|", "\\|") for cell in row] for row in (headings, *rows)]
    widths = [max(3, *(len(row[column]) for row in every)) for column in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return f"| {' | '.join([cells[0].ljust(len(first)), *others])} |"

    rule = [("-" * (width - 1) + ":") if place else "-" * width for place, width in enumerate(widths)]
    return "\n".join([line(every[0]), f"| {' | '.join(rule)} |", *map(line, every[1:])])
