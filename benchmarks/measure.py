"""What the benchmarks share: a run timed, a table's cell, the machine-readable file."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from robustaug.hardware import describe_hardware, describe_versions

Result = TypeVar("Result")


def now() -> float:
    """Seconds, once the device has done what it was told to."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(run: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that a run takes, and what it returns."""
    began = now()
    result = run()
    return now() - began, result


def cell(value: Any, width: int, form: str) -> str:
    """A value at the right of its column; a dash where there is none."""
    return f"{'-' if value is None else form.format(value):>{width}}"


def write_rows(path: Path | None, rows: Sequence[Mapping[str, Any]]) -> None:
    """Hardware, versions and rows as JSON; nothing without a path."""
    if path is not None:
        content = {"hardware": describe_hardware(), "versions": describe_versions(), "rows": rows}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
