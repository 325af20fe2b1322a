"""The list of files that a job went on without."""

import sys
from collections.abc import Sequence

from robustaug.data import Skipped


def list_skipped(skipped: Sequence[Skipped]) -> None:
    """Print each skipped file and its reason on standard error."""
    print(f"{len(skipped)} files could not be used:", file=sys.stderr)
    for item in skipped:
        print(f"  {item.path}: {item.reason}", file=sys.stderr)
