"""``robustaug ablate``: each technique of an arm off in turn, and accuracy against the number of originals."""

from pathlib import Path
from typing import Annotated

import typer

from robustaug.cli.run import ConfigFile, Overrides


def ablate(
    config: ConfigFile,
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder; default: ablations/ and the configuration's file name.")
    ] = None,
    arm: Annotated[str | None, typer.Option(help="Which arm; default: the one with the most techniques.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many, from the configuration's on.")] = 3,
    fractions: Annotated[
        str, typer.Option(metavar="F,F,...", help="Shares of the training originals; 1 leaves the curve out.")
    ] = "0.1,0.25,0.5,1",
    set_: Overrides = None,
) -> None:
    """Switch each technique off in turn, with equal steps, and train on fewer originals with and without them.

    Every cell is a run folder. A call that was interrupted goes on with the same command.
    """
    from robustaug.cli.finish import plain_console  # noqa: PLC0415 - torch loads only when a command needs it
    from robustaug.cli.listing import list_skipped  # noqa: PLC0415
    from robustaug.experiment import load_config  # noqa: PLC0415
    from robustaug.experiment.ablation import run_ablation  # noqa: PLC0415

    console, shares = plain_console(), _numbers(fractions)
    settings, folder = load_config(config, set_ or ()), out or Path("ablations") / config.stem
    outcome = run_ablation(settings, folder, arm=arm, seeds=seeds, fractions=shares, console=console)
    typer.echo((folder / "ablation.md").read_text(encoding="utf-8"))
    typer.echo(f"Page: {outcome.page}")
    if outcome.skipped:
        list_skipped(outcome.skipped)
        raise typer.Exit(1)


def _numbers(text: str) -> tuple[float, ...]:
    """The numbers of ``0.1,0.25``."""
    from robustaug.errors import RobustAugError  # noqa: PLC0415

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise RobustAugError(f"--fractions {text!r} is no list of numbers; give for example 0.1,0.25,0.5,1") from None
