"""``robustaug preserve``: how many labels survive the style transfer, by strength."""

from pathlib import Path
from typing import Annotated

import typer

from robustaug.cli.jobs import LabelsFile
from robustaug.cli.stylize import ColorName, Method


def preserve(
    data: Annotated[str, typer.Argument(help="An image folder with class folders, or a named set such as mnist5k.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="The judge, a model.safetensors that robustaug wrote.",
            show_default="a small one is trained on the originals",
            metavar="FILE",
        ),
    ] = None,
    styles: Annotated[
        str | None,
        typer.Option(
            help="Folder of paintings; or textures.", show_default="the 12 embedded paintings", metavar="DIR|WORD"
        ),
    ] = None,
    method: Annotated[Method, typer.Option(help="As for stylize.")] = Method.GATYS,
    color: Annotated[ColorName, typer.Option(help="As for stylize.")] = ColorName.PAINTING,
    decoder: Annotated[
        Path | None, typer.Option(help="For adain: a file of robustaug style-train.", show_default="embedded")
    ] = None,
    samples: Annotated[int, typer.Option(help="At most so many images are stylised, at each strength.")] = 200,
    keep: Annotated[
        float, typer.Option(help="Share of the labels right at strength 0 that a recommended strength must keep.")
    ] = 0.9,
    size: Annotated[
        int | None,
        typer.Option(help="Side of the images in px.", show_default="the classifier's, or as for run", metavar="PX"),
    ] = None,
    labels: LabelsFile = None,
    root: Annotated[Path | None, typer.Option(help="Where named sets are kept.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="New or empty folder, or this measurement's own.", show_default="runs/preserve-NAME"),
    ] = None,
) -> None:
    """Measure how many labels survive the style transfer at each strength, and recommend a strength.

    Judged by a classifier of the originals, on images that it was not trained on. Writes preservation.json,
    preservation.svg and the variants. It can be interrupted: the same command then goes on where it stopped.
    """
    from rich.table import Table  # noqa: PLC0415 - torch loads only when a command needs it

    from robustaug.cli.finish import plain_console  # noqa: PLC0415
    from robustaug.cli.listing import list_skipped  # noqa: PLC0415
    from robustaug.cli.style_options import method_of  # noqa: PLC0415
    from robustaug.evaluation.report.wording import accuracy  # noqa: PLC0415
    from robustaug.experiment.preserve_job import preserve as run_job  # noqa: PLC0415
    from robustaug.files import refuse_inside  # noqa: PLC0415
    from robustaug.style import StyleBank  # noqa: PLC0415

    folder = out or Path("runs") / f"preserve-{Path(data).resolve().name}"
    refuse_inside(folder, Path(data))
    match styles:
        case None:
            bank = StyleBank.embedded()
        case "textures":
            bank = StyleBank.textures()
        case _:
            bank = StyleBank.from_folder(Path(styles))
    style = method_of(
        method.value, color=color.value, encoder="vgg16", weights=None, normalisation=None, decoder=decoder,
        size=None, changes=(),
    )  # fmt: skip
    outcome = run_job(
        data, folder, bank, style, checkpoint=checkpoint, samples=samples, share=keep, size=size, labels=labels,
        root=root, seed=seed,
    )  # fmt: skip
    measured, console = outcome.preservation, plain_console()
    table = Table(title=f"{method.value} on {data} ({outcome.part}, {outcome.images} images)")
    table.add_column("strength", justify="right")
    table.add_column("labels kept % [95% interval]", justify="right")
    for strength, kept in measured.kept.items():
        table.add_row(f"{strength:g}", accuracy(kept.to_dict()))
    console.print(table)
    for check in outcome.checks:
        if not check.passed:
            console.print(f"Check failed: {check.name}: {check.detail}", markup=False, soft_wrap=True)
    enough = f"{keep:.0%} of the labels that are right at strength 0"
    if measured.recommended is None:
        advice = f"No strength above 0 keeps {enough}."
    else:
        advice = f"Recommended: --strength {measured.recommended:g}, the largest that keeps {enough}."
    console.print(advice, markup=False, soft_wrap=True)
    console.print(f"Figure: {folder / 'preservation.svg'}", markup=False, soft_wrap=True)
    if outcome.skipped:
        list_skipped(outcome.skipped)
        raise typer.Exit(1)
