"""The list of files that a job went on without."""

import sys
from collections.abc import Sequence

from robustaug.data import Skipped


def list_skipped(skipped: Sequence[Skipped]) -> None:
    """Print each skipped file and its reason on standard error."""
    print(f"{len(skipped):,} {'file' if len(skipped) == 1 else 'files'} could not be used:", file=sys.stderr)
    for item in skipped:
        print(f"  {_on_one_line(item.path)}: {item.reason}", file=sys.stderr)


def _on_one_line(name: str) -> str:
    """A file name whose line breaks and other control characters are written out."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)
