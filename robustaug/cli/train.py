"""``robustaug train``: one arm of a configuration, trained."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from robustaug.cli.run import ConfigFile, Overrides, RunDirectory


def train(
    config: ConfigFile,
    arm: Annotated[str | None, typer.Option(help="Which arm; default: the only one.")] = None,
    out: RunDirectory = None,
    set_: Overrides = None,
) -> None:
    """Train one arm; a training that was interrupted goes on where it stopped.

    Several GPUs or machines: accelerate launch -m robustaug train CONFIG. The whole experiment with evaluation and
    report goes on from there: robustaug run CONFIG --resume.
    """
    from rich.console import Console  # noqa: PLC0415 - loaded only when a command needs it

    from robustaug.cli.finish import plain_console  # noqa: PLC0415
    from robustaug.cli.listing import list_skipped  # noqa: PLC0415
    from robustaug.experiment import load_config, train_arm  # noqa: PLC0415
    from robustaug.training.distributed import joined  # noqa: PLC0415

    settings = load_config(config, set_ or ())
    with joined() as processes:
        console = plain_console() if processes.is_main else Console(quiet=True)
        trained = train_arm(settings, out or Path("runs") / config.stem, arm, console=console)
    path, data = trained.checkpoint.path, settings.data
    words = ["robustaug", "evaluate", str(path), data.source]
    for option, value in {"--labels": data.labels, "--root": data.root}.items():
        words += [] if value is None else [option, value]
    for line in (f"Checkpoint: {path} ({trained.chosen})", f"Next: {shlex.join(words)}"):
        console.print(line, markup=False, soft_wrap=True)
    if trained.skipped and processes.is_main:
        list_skipped(trained.skipped)
        raise typer.Exit(1)
