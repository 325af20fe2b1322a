"""``explore_into``: explore a data set and write what was found."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robustaug.experiment.explore.figures import draw_figures
from robustaug.experiment.explore.page import write_page
from robustaug.experiment.explore.pictures import draw_sheets
from robustaug.exploration import advise, explore, facts_of, recipe_of
from robustaug.files import output_folder, refuse_inside, write_json, write_text


def explore_into(
    source: str,
    out: Path,
    *,
    labels: Path | None = None,
    root: Path | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Mapping[str, Any]:
    """Write ``explore.html``, ``explore.json``, ``recipe.toml`` and ``figures/`` about a data set, each atomically.

    Args:
        source: an image folder or a named set.
        out: where to; not inside the image folder.
        labels: a CSV with the class of every file of an image folder; None: its class folders.
        root: where named sets are kept.
        limit: at most so many images of a class, in each part.
        seed: of the limit and of cross-validation.

    Returns:
        The content of ``explore.json``.

    Raises:
        RobustAugError: unusable data (see ``exploration.explore``), or an output that cannot be written.
    """
    refuse_inside(out, Path(source))
    explored = explore(source, labels=labels, root=root, limit=limit, seed=seed)
    facts = facts_of(explored)
    advice = advise(facts)
    facts["advice"] = [asdict(each) for each in advice]
    recipe = recipe_of(facts, advice, root, labels)
    figures = output_folder(out) / "figures"
    charts = draw_figures(facts, figures)
    sheets = draw_sheets(explored.scan, figures)
    write_json(out / "explore.json", facts)
    write_text(out / "recipe.toml", recipe)
    write_page(out / "explore.html", facts, recipe, charts, sheets, explored.scan)
    return facts
