"""The page of an ablation: one self-contained HTML file, with the look of the report page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from robustaug.evaluation.report.frame import environment, style_and_script
from robustaug.evaluation.report.page import flat
from robustaug.evaluation.report.wording import eps_text, metric_title, norm_text
from robustaug.experiment.ablation import tables
from robustaug.experiment.ablation.figure import NAME, draw_curve
from robustaug.experiment.ablation.results import METRICS
from robustaug.files import write_text
from robustaug.look import inline_svg


def build_page(content: Mapping[str, Any], out: Path) -> Path:
    """Write ``figures/`` and ``ablation.html``; the same content gives the same bytes.

    Raises:
        RobustAugError: a file cannot be written.
    """
    svg = draw_curve(content, out / "figures")
    described = (
        "Line charts: accuracy against the number of training originals, with all techniques and with none, a panel a "
        "metric. The numbers are in the table below."
    )
    charts = {} if svg is None else {NAME: inline_svg(svg.read_text(encoding="utf-8"), NAME, described)}
    templates = environment(Path(__file__).parent)
    templates.filters |= {"flat": flat, "difference": tables.difference_text}
    page = out / "ablation.html"
    text = templates.get_template("page.html.j2").render(
        content=content,
        metrics=METRICS,
        titles=tables.titles(),
        cell_title=lambda name: tables.cell_title(content, name),
        originals=tables.originals,
        caption=tables.caption(content),
        findings=findings(content),
        threat=f"{norm_text(content['threat']['norm'])} eps {eps_text(content['threat']['eps'])}",
        charts=charts,
        looks={},
        off={technique["name"]: technique["off"] for technique in content["techniques"]},
        config=tomli_w.dumps(_without_none(content["config"])),
        **style_and_script(),
    )
    write_text(page, text)
    return page


def findings(content: Mapping[str, Any]) -> list[str]:
    """A sentence for each technique whose absence is told from chance, and one for those of which it is not."""
    told, untold = [], []
    for technique in content["techniques"]:
        differences = content["cells"][f"without-{technique['name']}"]["differences"]
        lost = {metric: found for metric, found in differences.items() if found["high"] < 0 or found["low"] > 0}
        name = technique["name"].replace("_", " ")
        if lost:
            changes = [f"{metric_title(metric)} {tables.difference_text(found)[:-1]}" for metric, found in lost.items()]
            told.append(f"Without {name}: {', '.join(changes)} points.")
        else:
            untold.append(name)
    if untold:
        told.append(f"Not told apart from the full configuration on any metric: without {', without '.join(untold)}.")
    return told


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(entry) for key, entry in value.items() if entry is not None}
    return [_without_none(entry) for entry in value] if isinstance(value, list) else value
