"""``robustaug compose``: the larger data set, of originals and accepted variants."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from robustaug.cli.jobs import LabelsFile


class LayoutName(StrEnum):
    """Layouts by name."""

    FOLDER = "folder"
    WEBDATASET = "webdataset"
    IMAGEFOLDER = "imagefolder"


def compose(
    data: Annotated[str, typer.Argument(metavar="DATA", help="An image folder, or a named set such as mnist5k.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New or empty folder, or one of this same job, to go on.")],
    variants: Annotated[
        list[Path],
        typer.Option(
            help="A folder that stylize, augment or attack --out filled from DATA. Repeatable.", metavar="DIR"
        ),
    ],
    layout: Annotated[
        LayoutName,
        typer.Option(
            help="folder: PART/CLASS/NAME, as [data] source takes it; webdataset: tar shards (extra webdataset); "
            "imagefolder: a folder with Hugging Face's metadata.jsonl and README.md."
        ),
    ] = LayoutName.FOLDER,
    validation_share: Annotated[
        float, typer.Option(help="Of all images, where DATA brings no validation part.", metavar="SHARE")
    ] = 0.1,
    test_share: Annotated[
        float, typer.Option(help="Of all images, where DATA brings no test part.", metavar="SHARE")
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Chooses the samples of the parts that DATA does not bring.")] = 0,
    labels: LabelsFile = None,
    attributes: Annotated[
        Path | None,
        typer.Option(
            help="Table of attributes of the originals, for the card's counts before and after.", metavar="CSV"
        ),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where named sets are kept.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of a named set's images in px; default: as they are, up to 128.")
    ] = None,
) -> None:
    """Make the larger data set: the originals in their parts, and the accepted variants in training alone.

    Writes the images, manifest.jsonl (where each file comes from) and DATACARD.md. It can be interrupted: the same
    command then goes on where it stopped. Files that cannot be used are listed at the end; the exit code is then 1.
    """
    from robustaug.cli.listing import list_skipped  # noqa: PLC0415 - torch loads only when a command needs it
    from robustaug.experiment.compose import compose as run_job  # noqa: PLC0415

    composition = run_job(
        data,
        out,
        variants,
        layout=layout.value,
        labels=labels,
        root=root,
        size=size,
        seed=seed,
        validation_share=validation_share,
        test_share=test_share,
        attributes=attributes,
    )
    before, after = composition.count(before=True).total(), composition.count().total()
    typer.echo(f"{before} originals and {after - before} variants are in {out}; see {out / 'DATACARD.md'}.")
    for origin in composition.origins:
        reasons = "".join(f"\n  {count} left out: {reason}" for reason, count in sorted(origin.left_out.items()))
        typer.echo(f"{origin.path}: {origin.added} variants added{reasons}")
    if composition.skipped:
        list_skipped(composition.skipped)
        raise typer.Exit(1)
