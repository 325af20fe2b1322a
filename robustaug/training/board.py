"""The rows of the history as scalars for TensorBoard."""

import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from robustaug.errors import RobustAugError


class Board:
    """Event files of one run.

    Those of a former piece of the run are replaced: what a kill left there is neither lost nor doubled.

    Args:
        folder: Of the event files.
        rows: The history so far.

    Raises:
        RobustAugError: the package is not installed.
    """

    def __init__(self, folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        check_tensorboard(wanted=True)
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra

        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._began = time.time() - (rows[-1]["seconds"] if rows else 0)
        self._writer = SummaryWriter(str(folder))
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a row: every number in it, under its own name, at its step."""
        for name in row.keys() - {"step", "seconds"}:
            self._writer.add_scalar(name, row[name], row["step"], self._began + row["seconds"])
        self._writer.flush()

    def close(self) -> None:
        """Let go of the file; without this, nothing is lost."""
        self._writer.close()


def check_tensorboard(wanted: bool) -> None:
    """Refuse to go on without the package, where it is wanted.

    Raises:
        RobustAugError: it is not installed.
    """
    if wanted and find_spec("tensorboard") is None:
        raise RobustAugError(
            "training.tensorboard needs the package tensorboard; install robustaug[tensorboard] or set it to false"
        )
