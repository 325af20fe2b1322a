"""A question about a measurement, and its answer."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    Attributes:
        name: what was asked, in words.
        arm: the classifier it was asked of; None for all.
        passed: whether the answer speaks for the numbers.
        detail: the evidence in one line.
    """

    name: str
    arm: str | None
    passed: bool
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """``{"name", "arm", "passed", "detail"}``, as reports have it."""
        return asdict(self)
