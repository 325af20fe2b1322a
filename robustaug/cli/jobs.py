"""What commands on a data set share."""

import re
from pathlib import Path
from typing import Annotated

import typer

from robustaug.errors import RobustAugError

LabelsFile = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="Table with columns path and label, for images that lie in no class folders.",
        show_default="the class folders",
        metavar="CSV",
    ),
]


def parse_shard(text: str) -> tuple[int, int]:
    """Index from 0 and count, of I/N.

    Raises:
        RobustAugError: the text is something else.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise RobustAugError(f"--shard {text!r} is not I/N with 1 <= I <= N, for example 1/4")
    return int(match[1]) - 1, int(match[2])
