"""Progress bars with a rate and an estimate, on a terminal only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class Advance(Protocol):
    """Report finished items; ``note`` replaces the text behind the bar."""

    def __call__(self, count: int = 1, note: str | None = None) -> None:
        """Add ``count`` finished items."""


def silent(count: int = 1, note: str | None = None) -> None:
    """No progress bar."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="cyan")


@contextmanager
def progress_bar(title: str, total: int, done: int = 0) -> Iterator[Advance]:
    """A bar on standard error while the block runs; quiet where that is no terminal, and in a run's other processes."""
    console = Console(stderr=True)
    is_first = os.environ.get("RANK", "0") == "0"  # of several that a launcher started
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(
        *columns, console=console, disable=not (console.is_terminal and is_first), transient=True
    ) as progress:
        task = progress.add_task(title, total=total, completed=done, note="")

        def advance(count: int = 1, note: str | None = None) -> None:
            if note is None:
                progress.update(task, advance=count)
            else:
                progress.update(task, advance=count, note=note)

        yield advance
