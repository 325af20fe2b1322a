"""``robustaug style-train``: a decoder of AdaIN from one's own pictures."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Level(StrEnum):
    """How deep a decoder looks."""

    CONV3_1 = "conv3_1"
    CONV4_1 = "conv4_1"


def style_train(
    content_dir: Annotated[
        Path, typer.Argument(metavar="CONTENT_DIR", help="Folder tree of photos like those to be stylised.")
    ],
    out_dir: Annotated[
        Path, typer.Argument(metavar="OUT_DIR", help="New or empty folder, or this training's own, to go on.")
    ],
    styles: Annotated[
        Path | None, typer.Option(help="Folder of paintings.", show_default="the 12 embedded ones", metavar="DIR")
    ] = None,
    level: Annotated[
        Level, typer.Option(help="How deep it looks: conv4_1 suits images from about 128 px up.")
    ] = Level.CONV3_1,
    size: Annotated[
        list[int] | None,
        typer.Option(help="Side of the training images in px; several are taken in turn.", show_default="64, or 128"),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of Adam.")] = 4000,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 16,
    content_weight: Annotated[
        float,
        typer.Option(min=0, help="Of the content against the style: with less, more style and fewer labels stay."),
    ] = 0.15,
    seed: Annotated[int, typer.Option(help="Of the first weights and of every choice.")] = 0,
) -> None:
    """Train a decoder for ``stylize --method adain --decoder OUT_DIR/decoder.safetensors``.

    Writes the decoder and curve.jsonl. It can be interrupted: the same command then goes on where it stopped. Pictures
    that cannot be used are listed at the end, and the exit code is then 1.
    """
    from robustaug.cli.listing import list_skipped  # noqa: PLC0415 - torch loads only when a command needs it
    from robustaug.hardware import default_device  # noqa: PLC0415
    from robustaug.progress import progress_bar  # noqa: PLC0415
    from robustaug.style import StyleBank, folder_items, load_encoder  # noqa: PLC0415
    from robustaug.training.style_decoder import DecoderSettings, read_contents, train_decoder  # noqa: PLC0415

    sizes = tuple(size or ([64] if level is Level.CONV3_1 else [128]))
    settings = DecoderSettings(
        level=level.value,
        sizes=sizes,
        steps=steps,
        batch_size=batch_size,
        content_weight=content_weight,
        seed=seed,
    )
    items, skipped = folder_items(content_dir)
    contents, unreadable = read_contents(items, round(1.25 * max(sizes)))
    bank = StyleBank.embedded() if styles is None else StyleBank.from_folder(styles)
    pictures = [painting.image for painting in bank.paintings]
    encoder = load_encoder().to(default_device())
    with progress_bar("Training", total=steps) as advance:
        curve = train_decoder(contents, pictures, out_dir, encoder, settings, progress=advance)
    last = curve[-1]
    typer.echo(
        f"{out_dir / 'decoder.safetensors'} written; on held-out pictures the content loss is "
        f"{last['content_loss']:.2f}, the style loss {last['style_loss']:.3f}."
    )
    if skipped := [*skipped, *unreadable]:
        list_skipped(skipped)
        raise typer.Exit(1)
