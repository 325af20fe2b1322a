"""``robustaug run``: an experiment from a configuration file."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML configuration; recipes/ holds examples.")]
RunDirectory = Annotated[
    Path | None, typer.Option("--out", help="The run folder; default: runs/ and the configuration's file name.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, for example training.steps=500. Repeatable."),
]


def run(
    config: ConfigFile,
    out: RunDirectory = None,
    set_: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that is in the folder.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if a check failed.")] = False,
) -> None:
    """Make variants, retrain every arm, evaluate, report."""
    from robustaug.cli.finish import run_and_print  # noqa: PLC0415 - torch loads only when a command needs it
    from robustaug.experiment import load_config  # noqa: PLC0415

    run_and_print(load_config(config, set_ or ()), out or Path("runs") / config.stem, resume=resume, strict=strict)
