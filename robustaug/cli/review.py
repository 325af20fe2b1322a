"""``robustaug review``: look at variants and decide about each."""

from pathlib import Path
from typing import Annotated

import typer


def review(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A folder of variants with manifest.jsonl, or a run folder."),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="The originals, shown beside their variants: an image folder or a named set.",
            show_default="those of the run, where DIR is of a run",
        ),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of named data sets.", show_default="as for run")] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            help="Variants in the random sample that says what share of all is bad.",
            show_default="150, or all if there are fewer",
            metavar="N",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Of the page, on 127.0.0.1.", show_default="8710 or a free one")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address only.")] = False,
) -> None:
    """Open a page on this machine to accept, reject or relabel variants, one by one or in a grid.

    Every decision is in DIR/review.jsonl at once. Training and compose obey it. Ctrl-C ends the review;
    the same command goes on with it.
    """
    import webbrowser  # noqa: PLC0415 - only this command needs it
    from contextlib import closing  # noqa: PLC0415

    from robustaug.errors import RobustAugError  # noqa: PLC0415

    try:
        from robustaug.review.server import serve  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise RobustAugError(
            f'review needs the package {error.name}; install it: pip install "robustaug[serve]"'
        ) from error
    from robustaug.review.desk import Desk  # noqa: PLC0415 - torch loads only when needed

    with closing(Desk(folder, data, root=root, sample=sample)) as desk:

        def ready(address: str) -> None:
            typer.echo(f"Review of {len(desk):,} variants in {desk.gallery.folder}: {address}")
            typer.echo("Ctrl-C ends it; every decision is on disk as soon as it is made.")
            if not no_browser:
                webbrowser.open(address)

        serve(desk, port, ready)
        made = desk.decisions()
        typer.echo(
            f"{len(made):,} of {len(desk):,} variants are decided: {len(made.excluded):,} left out, "
            f"{len(made.relabelled):,} relabelled; see {desk.gallery.folder / 'review.jsonl'}"
        )
        if len(made.excluded) == len(desk):
            typer.echo("None is left: training and compose will refuse the folder until some are accepted.")
