"""Manifest rows that stay on disk: memory holds a name and a place for each."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from robustaug.errors import RobustAugError
from robustaug.files import append_jsonl

Row = Mapping[str, Any]


class RowsOnDisk(Mapping[str, Row]):
    """The rows of several manifests by their ``path``; of two with one path the later counts.

    The files stay open, so that they can be replaced while their rows are still read.

    Args:
        lists: JSON lines, each an object with a ``path``; a last line torn by a kill is left out.

    Raises:
        RobustAugError: a file cannot be read, or a whole line is damaged.
    """

    def __init__(self, lists: Iterable[Path]) -> None:
        self._files: dict[Path, BinaryIO] = {}
        self._places: dict[str, tuple[Path, int]] = {}
        self._counts: Counter[Path] = Counter()
        self._whole: set[Path] = set()  # files that surely end with a whole line
        for path in lists:
            self._files[path] = _open(path)
            for begin, row in _walk(self._files[path], path):
                self._places[str(row.get("path"))] = path, begin
                self._counts[path] += 1

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> dict[str, Any]:
        path, begin = self._places[name]
        self._files[path].seek(begin)
        row: dict[str, Any] = json.loads(self._files[path].readline())
        return row

    def count(self, path: Path) -> int:
        """How many rows a file had when it was opened."""
        return self._counts[path]

    def append(self, path: Path, row: Row) -> None:
        """Add a row at the end of a file.

        Raises:
            RobustAugError: it cannot be written.
        """
        if path not in self._whole:
            _cut_torn_line(path)
        begin = path.stat().st_size if path.exists() else 0
        self._whole.discard(path)
        append_jsonl(path, row)
        self._whole.add(path)
        if path not in self._files:
            self._files[path] = _open(path)
        self._places[row["path"]] = path, begin


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one file, one at a time; none where there is no file.

    Raises:
        RobustAugError: it cannot be read, or a whole line is damaged.
    """
    if path.exists():
        with _open(path) as file:
            yield from (row for _, row in _walk(file, path))


def _walk(file: BinaryIO, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each whole line: where it begins, and its object."""
    begin = 0
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            return  # torn by a kill
        try:
            row = json.loads(line)
        except ValueError as error:
            raise RobustAugError(f"{path}, line {number} is not valid JSON; restore the file or delete it") from error
        if isinstance(row, dict):
            yield begin, row
        begin += len(line)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise RobustAugError(f"cannot read {path}: {error.strerror or error}") from error


def _cut_torn_line(path: Path) -> None:
    if path.exists():
        with _open(path) as file:
            whole = sum(len(line) for line in file if line.endswith(b"\n"))
        os.truncate(path, whole)
