"""``robustaug stylize``: stylised variants of a folder of images."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from robustaug.cli.jobs import LabelsFile, parse_shard


class Method(StrEnum):
    """Style transfer methods."""

    GATYS = "gatys"
    ADAIN = "adain"


class ColorName(StrEnum):
    """Whose colours."""

    PAINTING = "painting"
    LUMINANCE = "luminance"
    STATISTICS = "statistics"


class EncoderName(StrEnum):
    """Encoders by name."""

    VGG16 = "vgg16"
    VGG19 = "vgg19"


class NormalisationName(StrEnum):
    """How an encoder's input is normalised."""

    OXFORD = "oxford"
    IMAGENET = "imagenet"


class EngineName(StrEnum):
    """Where the job runs."""

    LOCAL = "local"
    RAY = "ray"


def stylize(
    content_dir: Annotated[
        Path,
        typer.Argument(
            metavar="CONTENT_DIR", help="Folder tree of images, 16 to 1024 px a side; class folders are kept."
        ),
    ],
    out_dir: Annotated[
        Path,
        typer.Argument(
            metavar="OUT_DIR",
            help="New or empty folder for the PNG files and manifest.jsonl, or this job's own, to go on.",
        ),
    ],
    styles: Annotated[
        str | None,
        typer.Option(
            help="Folder of paintings, 64 px a side or more; or textures; or own (other images of CONTENT_DIR), or "
            "other-class (those of other classes).",
            show_default="the 12 embedded paintings",
            metavar="DIR|WORD",
        ),
    ] = None,
    method: Annotated[
        Method,
        typer.Option(
            help="gatys: the image is optimised, slow and true to the painting. adain: one pass through a network."
        ),
    ] = Method.GATYS,
    per_image: Annotated[
        int, typer.Option(help="Variants of each image, each with other paintings: 1 to the number of paintings.")
    ] = 1,
    blend: Annotated[int, typer.Option(help="Paintings mixed in each variant, in shares drawn for it.")] = 1,
    strength: Annotated[
        str | None,
        typer.Option(
            help="0 keeps the image, 1 takes the painting's whole style; LOW:HIGH is drawn for each variant.",
            show_default="what keeps about nine labels in ten at the image's size",
            metavar="S|LOW:HIGH",
        ),
    ] = None,
    style_scale: Annotated[
        str | None,
        typer.Option(
            help="Take a random part of each painting, with so large a share of its sides: larger strokes.",
            show_default="the whole",
            metavar="S|LOW:HIGH",
        ),
    ] = None,
    size: Annotated[
        str,
        typer.Option(
            help="keep; PX cuts out the central square and resizes it, 16 to 1024; longest:PX resizes the longer side.",
            metavar="keep|PX|longest:PX",
        ),
    ] = "keep",
    color: Annotated[
        ColorName,
        typer.Option(
            help="Whose colours: the painting's; or the image's, by transferring luminance only, or by matching mean "
            "and covariance of the painting's colours."
        ),
    ] = ColorName.PAINTING,
    preserve_color: Annotated[bool, typer.Option("--preserve-color", help="Short for --color luminance.")] = False,
    labels: LabelsFile = None,
    leave: Annotated[
        list[str] | None, typer.Option(help="Leave the images of this class alone. Repeatable.", metavar="CLASS")
    ] = None,
    keep_label_above: Annotated[
        float | None,
        typer.Option(
            help="Drop variants whose label has this probability or less, as --classifier sees them; dropped.jsonl "
            "names them.",
            metavar="P",
        ),
    ] = None,
    classifier: Annotated[
        Path | None, typer.Option(help="A model.safetensors that robustaug wrote.", metavar="CHECKPOINT")
    ] = None,
    encoder: Annotated[EncoderName, typer.Option(help="Network whose features are compared.")] = EncoderName.VGG16,
    weights: Annotated[
        str | None,
        typer.Option(
            help="The encoder's: torchvision, or a file in its layout.",
            show_default="embedded for vgg16",
            metavar="FILE|torchvision",
        ),
    ] = None,
    normalisation: Annotated[
        NormalisationName | None, typer.Option(help="Of the encoder's input, where --weights is a file.")
    ] = None,
    decoder: Annotated[
        Path | None, typer.Option(help="For adain: a file of robustaug style-train.", show_default="embedded")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="For gatys, with a fixed --size: a setting, as steps=80 or style_layers=['conv1_1']. Repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn: paintings, shares, strengths, parts.")] = 0,
    shard: Annotated[
        str,
        typer.Option(help="Do the I-th of N parts, for several machines on one OUT_DIR: 1/4 to 4/4.", metavar="I/N"),
    ] = "1/1",
    engine: Annotated[
        EngineName, typer.Option(help="local: in this process; ray: as a Ray Data pipeline (extra ray).")
    ] = EngineName.LOCAL,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the files of another job in OUT_DIR first, and no others.")
    ] = False,
) -> None:
    """Make stylised variants of every image below CONTENT_DIR, with paintings as style.

    Writes OUT_DIR/CLASS/NAME__PAINTING.png, manifest.jsonl and contact_sheet.png. It can be interrupted: the same
    command then goes on where it stopped. Images that cannot be used are listed at the end; the exit code is then 1.
    """
    from robustaug.cli.listing import list_skipped  # noqa: PLC0415 - torch loads only when a command needs it
    from robustaug.cli.style_options import bank_of, check_of, method_of, range_of, size_of  # noqa: PLC0415
    from robustaug.data.content import folder_items  # noqa: PLC0415
    from robustaug.data.labels import read_labels  # noqa: PLC0415
    from robustaug.files import refuse_inside  # noqa: PLC0415
    from robustaug.style.job import JobSettings  # noqa: PLC0415
    from robustaug.style.job import stylize as run_job  # noqa: PLC0415

    part = parse_shard(shard)
    strengths = None if strength is None else range_of("--strength", strength)
    settings = JobSettings(
        per_image=per_image,
        seed=seed,
        strength=strengths[0] if strengths is not None and strengths[0] == strengths[1] else strengths,
        **size_of(size),
        blend=blend,
        style_scale=None if style_scale is None else range_of("--style-scale", style_scale),
    )
    refuse_inside(out_dir, content_dir)
    style = method_of(
        method.value,
        color="luminance" if preserve_color else color.value,
        encoder=encoder.value,
        weights=weights,
        normalisation=None if normalisation is None else normalisation.value,
        decoder=decoder,
        size=settings.size,
        changes=set_ or (),
    )
    check = check_of(keep_label_above, classifier)
    items, not_images = folder_items(content_dir, leave or (), None if labels is None else read_labels(labels))
    result = run_job(
        items,
        out_dir,
        bank_of(styles, items, seed),
        style,
        settings,
        shard=part,
        check=check,
        overwrite=overwrite,
        engine=engine.value,
    )
    skipped = [*not_images, *result.skipped]
    if result.written == result.dropped == 0 and not skipped:
        typer.echo(f"Nothing to do: all {result.already_done} variants are in {out_dir}.")
    else:
        before = f" ({result.already_done} were there before)" if result.already_done else ""
        typer.echo(f"{result.written} stylised images written to {out_dir}{before}.")
    if result.dropped:
        typer.echo(f"{result.dropped} were dropped because they no longer show their label: see dropped.jsonl.")
    if skipped:
        list_skipped(skipped)
        raise typer.Exit(1)
