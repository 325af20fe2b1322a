"""``robustaug stylize``: stylised variants of a folder of images."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from robustaug.errors import RobustAugError


class Method(StrEnum):
    """Style transfer methods."""

    GATYS = "gatys"


class Engine(StrEnum):
    """Where the job runs."""

    LOCAL = "local"


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
        Path | None,
        typer.Option(
            help="Folder of paintings, 64 px a side or more.", show_default="the 12 embedded ones", metavar="DIR"
        ),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="gatys: the image is optimised, slow and true to the painting.")
    ] = Method.GATYS,
    per_image: Annotated[
        int, typer.Option(help="Variants of each image, each with another painting: 1 to the number of paintings.")
    ] = 1,
    strength: Annotated[float, typer.Option(help="0 keeps the image, 1 takes the painting's whole style.")] = 1.0,
    size: Annotated[
        int | None,
        typer.Option(
            help="Cut out the central square and resize it to PX pixels, 16 to 1024.",
            show_default="as they are",
            metavar="PX",
        ),
    ] = None,
    preserve_color: Annotated[
        bool, typer.Option("--preserve-color", help="Keep the image's colours: transfer luminance only.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides which image gets which painting.")] = 0,
    shard: Annotated[
        str,
        typer.Option(help="Do the I-th of N parts, for several machines on one OUT_DIR: 1/4 to 4/4.", metavar="I/N"),
    ] = "1/1",
    engine: Annotated[Engine, typer.Option(help="local: on this machine.")] = Engine.LOCAL,
) -> None:
    """Make stylised variants of every image below CONTENT_DIR, with paintings as style.

    Writes OUT_DIR/CLASS/NAME__PAINTING.png and manifest.jsonl. It can be interrupted: the same command then goes on
    where it stopped. Images that cannot be used are listed at the end, and the exit code is then 1.
    """
    from robustaug.cli.listing import list_skipped  # noqa: PLC0415 - torch loads only when a command needs it
    from robustaug.hardware import default_device  # noqa: PLC0415
    from robustaug.style import Gatys, StyleBank, folder_items, load_encoder  # noqa: PLC0415
    from robustaug.style import stylize as run_job  # noqa: PLC0415

    del method, engine  # one of each so far
    part = _parse_shard(shard)
    if size is not None and not 16 <= size <= 1024:
        raise RobustAugError(f"--size {size} is outside 16 to 1024")
    if out_dir.resolve().is_relative_to(content_dir.resolve()):
        raise RobustAugError(
            f"output folder {out_dir} lies inside the content folder {content_dir}; choose one outside it"
        )
    items, not_images = folder_items(content_dir)
    bank = StyleBank.embedded() if styles is None else StyleBank.from_folder(styles)
    style = Gatys(encoder=load_encoder().to(default_device()), color="luminance" if preserve_color else "painting")
    result = run_job(
        items, out_dir, bank, style, per_image=per_image, seed=seed, strength=strength, size=size, shard=part
    )
    skipped = [*not_images, *result.skipped]
    if result.written == 0 and not skipped:
        typer.echo(f"Nothing to do: all {result.already_done} variants are in {out_dir}.")
    else:
        before = f" ({result.already_done} were there before)" if result.already_done else ""
        typer.echo(f"{result.written} stylised images written to {out_dir}{before}.")
    if skipped:
        list_skipped(skipped)
        raise typer.Exit(1)


def _parse_shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise RobustAugError(f"--shard {text!r} is not I/N with 1 <= I <= N, for example 1/4")
    return int(match[1]) - 1, int(match[2])
