"""``robustaug explore``: look at a data set before anything is changed."""

from pathlib import Path
from typing import Annotated

import typer

from robustaug.cli.jobs import LabelsFile


def explore(
    data: Annotated[str, typer.Argument(metavar="DATA", help="An image folder, or a named set such as mnist5k.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page and its files; default: explored/ and the data's name.")
    ] = None,
    labels: LabelsFile = None,
    root: Annotated[Path | None, typer.Option(help="Where named sets are kept.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many images of a class, in each part.", metavar="N")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the limit, and of the folds of cross-validation.")] = 0,
) -> None:
    """Counts, sizes, duplicates, broken files, doubtful labels, shortcuts; and advice with a recipe for robustaug run.

    Writes OUT/explore.html, explore.json, recipe.toml and figures/. Broken files are listed, and no error.
    """
    from robustaug.cli.finish import plain_console  # noqa: PLC0415 - torch loads only when a command needs it
    from robustaug.experiment.explore import explore_into  # noqa: PLC0415
    from robustaug.experiment.explore.page import summary  # noqa: PLC0415

    folder = out or Path("explored") / (Path(data).resolve().name or "data")
    facts = explore_into(data, folder, labels=labels, root=root, limit=limit, seed=seed)
    console = plain_console()
    for line in summary(facts):
        console.print(line, markup=False, soft_wrap=True)
    console.print(
        "Advice:", *(f"  {each['title']}" for each in facts["advice"]), sep="\n", markup=False, soft_wrap=True
    )
    console.print(f"Page: {folder / 'explore.html'}", markup=False, soft_wrap=True)
    console.print(f"Recipe: robustaug run {folder / 'recipe.toml'}", markup=False, soft_wrap=True)
