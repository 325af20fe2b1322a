"""``robustaug demo``: the whole job on the embedded default."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path | None, typer.Option(help="The run folder; default: runs/demo or runs/demo-quick.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A coarse version in about a minute.")] = False,
) -> None:
    """Run the whole job on 5,000 handwritten digits; a demo that was interrupted goes on where it stopped."""
    from robustaug.cli.finish import run_and_print  # noqa: PLC0415 - torch loads only when a command needs it
    from robustaug.experiment import load_preset  # noqa: PLC0415

    config = load_preset("demo-quick" if quick else "demo")
    run_and_print(config, out or Path("runs") / config.name, resume=True)
