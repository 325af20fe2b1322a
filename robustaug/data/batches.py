"""Batches of one size from a stream of images of many."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch

Entry = TypeVar("Entry")


class BySize(Generic[Entry]):
    """Gathers what belongs to images of one size, as many as go at once.

    Where every image has a size of its own batches would never fill: the largest then goes ahead as it is. No result
    may depend on what goes together.

    Args:
        at_once: How many of a size go together.
        most: So many may wait in all.
    """

    def __init__(self, at_once: Callable[[torch.Size], int], most: int) -> None:
        self._at_once, self._most = at_once, most
        self._waiting: dict[torch.Size, list[Entry]] = defaultdict(list)

    def add(self, size: torch.Size, entry: Entry) -> list[Entry]:
        """A batch that is to go now; mostly none yet."""
        self._waiting[size].append(entry)
        if len(self._waiting[size]) >= self._at_once(size):
            return self._waiting.pop(size)
        if sum(map(len, self._waiting.values())) > self._most:
            return self._waiting.pop(max(self._waiting, key=lambda each: len(self._waiting[each])))
        return []

    def rest(self) -> Iterator[list[Entry]]:
        """All that still waits."""
        yield from self._waiting.values()
        self._waiting.clear()
