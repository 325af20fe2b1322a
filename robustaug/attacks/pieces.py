"""How many images go through the model at a time, without a sample's result depending on its batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

# Below some rows, matrix libraries choose other kernels, which sum in another order. With at least this many, a
# sample's result does not depend on its batch (measured with oneDNN and MKL; see docs/attacks.md).
SMALLEST_BATCH = 16
# Images that a CPU is given at a time: a PreActResNet-18 of width 64 took 8.5 ms an image at 64, and 10.8 ms at 128.
_PIECE = 64


def pieces_of(rows: Tensor, dtype: torch.dtype) -> Sequence[Tensor]:
    """What goes through a model at a time; the last piece may end in copies of the last row.

    Args:
        rows: shape (N, C, H, W), N at least 1.
        dtype: What the model computes in.

    Returns:
        One piece where there is no CPU, and in bfloat16. On a CPU each has at least 16 rows, and in float32 fewer than
        128: there, pieces whose activations stay in the cache are faster.
    """
    rows = padded(rows)
    if rows.device.type != "cpu" or dtype != torch.float32:
        return (rows,)
    return rows.tensor_split(max(1, len(rows) // _PIECE))


def padded(rows: Tensor) -> Tensor:
    """At least 16 rows on a CPU: the last is repeated."""
    missing = SMALLEST_BATCH - len(rows)
    if missing <= 0 or rows.device.type != "cpu":
        return rows
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])
