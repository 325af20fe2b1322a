"""``robustaug augment``: classical variants of a folder of images."""

from pathlib import Path
from typing import Annotated

import typer

from robustaug.cli.jobs import LabelsFile, parse_shard


def augment(
    content_dir: Annotated[
        Path,
        typer.Argument(metavar="IN", help="Folder tree of images, of any sizes from 8 px; class folders are kept."),
    ],
    out_dir: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="New or empty folder for the PNG files and manifest.jsonl, or this job's own, to go on."
        ),
    ],
    recipe: Annotated[Path, typer.Option(help="Techniques with their probabilities and parameters.", metavar="TOML")],
    per_image: Annotated[
        int | None,
        typer.Option(help="Variants of each image.", show_default="1; with --balance 0", metavar="N"),
    ] = None,
    balance: Annotated[
        float | None,
        typer.Option(
            help="More variants of the images of smaller classes, until each class has this share of the largest one.",
            metavar="RATIO",
        ),
    ] = None,
    labels: LabelsFile = None,
    leave: Annotated[
        list[str] | None, typer.Option(help="Leave the images of this class alone. Repeatable.", metavar="CLASS")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    shard: Annotated[
        str,
        typer.Option(help="Do the I-th of N parts, for several machines on one OUT: 1/4 to 4/4.", metavar="I/N"),
    ] = "1/1",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the files of another job in OUT first, and no others.")
    ] = False,
) -> None:
    """Make classical variants of every image below IN: crops, flips, colours, noise and the like, by a recipe.

    Writes OUT/CLASS/NAME__augmented-1.png, ... and manifest.jsonl. It can be interrupted: the same command then goes on
    where it stopped. Images that cannot be used are listed at the end; the exit code is then 1.
    """
    from robustaug.cli.listing import list_skipped  # noqa: PLC0415
    from robustaug.data.augmentation import read_recipe  # noqa: PLC0415 - torch loads only when a command needs it
    from robustaug.data.augmenter import ClassicalAugmenter  # noqa: PLC0415
    from robustaug.data.content import folder_items  # noqa: PLC0415
    from robustaug.data.labels import read_labels  # noqa: PLC0415
    from robustaug.experiment.augment_job import AugmentSettings, augment_images  # noqa: PLC0415
    from robustaug.files import refuse_inside  # noqa: PLC0415

    part = parse_shard(shard)
    if per_image is None:
        per_image = 1 if balance is None else 0
    settings = AugmentSettings(per_image, balance, seed)
    refuse_inside(out_dir, content_dir)
    augmenter = ClassicalAugmenter(read_recipe(recipe))
    items, not_images = folder_items(content_dir, leave or (), None if labels is None else read_labels(labels))
    result = augment_images(items, out_dir, augmenter, settings, shard=part, overwrite=overwrite)
    skipped = [*not_images, *result.skipped]
    if result.written == 0 and not skipped:
        typer.echo(f"Nothing to do: all {result.already_done} variants are in {out_dir}.")
    else:
        before = f" ({result.already_done} were there before)" if result.already_done else ""
        typer.echo(f"{result.written} variants written to {out_dir}{before}.")
    if skipped:
        list_skipped(skipped)
        raise typer.Exit(1)
