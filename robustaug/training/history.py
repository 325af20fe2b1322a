"""The history of a run: a row for each look at the validation split, and by choice the same for TensorBoard."""

from pathlib import Path
from typing import Any

from robustaug.files import append_jsonl, read_jsonl, write_jsonl
from robustaug.training.board import Board


class History:
    """``history.jsonl`` in a folder.

    Args:
        folder: Of the run.
        tensorboard: Whether each row also goes to event files, in the folder ``tensorboard`` there.
    """

    def __init__(self, folder: Path, *, tensorboard: bool) -> None:
        self._path, self._board_folder = folder / "history.jsonl", folder / "tensorboard" if tensorboard else None
        self._board: Board | None = None

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far."""
        return read_jsonl(self._path)

    def begin(self, step: int) -> None:
        """Go on after so many steps: a kill may come between a row and the state, and the state is what counts."""
        rows = [row for row in self.rows() if row["step"] <= step]
        write_jsonl(self._path, rows)
        if self._board_folder is not None:
            self._board = Board(self._board_folder, rows)

    def add(self, row: dict[str, Any]) -> None:
        """Append a row."""
        append_jsonl(self._path, row)
        if self._board is not None:
            self._board.add(row)

    def close(self) -> None:
        """Nothing more is added."""
        if self._board is not None:
            self._board.close()
