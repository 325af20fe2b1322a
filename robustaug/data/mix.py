"""The mix of a batch: which share of it is what, and how many rows that makes."""

import math
from dataclasses import dataclass
from typing import Literal

from robustaug.errors import RobustAugError

Kind = Literal["original", "stylised", "adversarial"]
KINDS: tuple[Kind, ...] = ("original", "stylised", "adversarial")


@dataclass(frozen=True)
class Mix:
    """Shares of each batch; they sum to one.

    Attributes:
        original: of originals.
        stylised: of stylised variants.
        adversarial: of rows that are attacked.
        attacked_style: share of the adversarial rows, not of the batch: what is attacked there is a stylised variant,
            in place of an original.

    Raises:
        RobustAugError: a share outside [0, 1], another sum, or a style to attack without adversarial rows.
    """

    original: float = 1.0
    stylised: float = 0.0
    adversarial: float = 0.0
    attacked_style: float = 0.0

    def __post_init__(self) -> None:
        shares = self.shares()
        for kind, share in (*shares.items(), ("attacked_style", self.attacked_style)):
            if not 0 <= share <= 1:
                raise RobustAugError(f"mix: the {kind} share is {share:g}; it must lie between 0 and 1")
        if self.attacked_style > 0 and self.adversarial == 0:
            raise RobustAugError(
                f"mix: attacked_style is {self.attacked_style:g} of the adversarial rows, but there are none; "
                "give the mix an adversarial share"
            )
        total = sum(shares.values())
        if abs(total - 1) > 1e-6:
            raise RobustAugError(f"mix: the shares of original, stylised and adversarial sum to {total:g}, not to 1")

    @property
    def styled(self) -> bool:
        """Whether any row needs a stylised variant."""
        return self.stylised > 0 or self.attacked_style > 0

    def shares(self) -> dict[Kind, float]:
        """Kind to share."""
        return {"original": self.original, "stylised": self.stylised, "adversarial": self.adversarial}

    def counts(self, batch_size: int) -> dict[Kind, int]:
        """Rows of each kind in a batch, by the largest remainder; they sum to ``batch_size``.

        Raises:
            RobustAugError: the batch is too small to hold every kind that has a share.
        """
        shares = self.shares()
        exact = {kind: share * batch_size for kind, share in shares.items()}
        counts = {kind: math.floor(rows + 1e-6) for kind, rows in exact.items()}
        by_remainder = sorted(KINDS, key=lambda kind: counts[kind] - exact[kind])
        for kind in by_remainder[: batch_size - sum(counts.values())]:
            counts[kind] += 1
        for kind, share in shares.items():
            if share > 0 and counts[kind] == 0:
                enough = math.ceil(1 / min(share for share in shares.values() if share > 0) - 1e-6)
                raise RobustAugError(
                    f"mix: a batch of {batch_size} has no row for the {kind} share of {share:g}; "
                    f"set batch_size to {enough} or more, or the share to 0"
                )
        return counts

    def attacked_styles(self, batch_size: int) -> int:
        """Adversarial rows of a batch in which a stylised variant is attacked: the share, rounded.

        Raises:
            RobustAugError: as ``counts``, or too few adversarial rows to hold both kinds.
        """
        rows = self.counts(batch_size)["adversarial"]
        styled = math.floor(rows * self.attacked_style + 0.5)
        if 0 < self.attacked_style < 1 and styled in (0, rows):
            raise RobustAugError(
                f"mix: the {rows} adversarial rows in a batch of {batch_size} cannot be split by an attacked_style of "
                f"{self.attacked_style:g}; set a larger batch_size, or attacked_style to 0 or 1"
            )
        return styled
