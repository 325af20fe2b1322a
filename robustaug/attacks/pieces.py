"""How many images go through the model at a time, without a sample's result depending on its batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

# Below some rows, matrix libraries choose other kernels, which sum in another order. With at least this many, a
# sample's result does not depend on its batch (measured with oneDNN and MKL; see docs/attacks.md).
SMALLEST_BATCH = 16
# Images that a CPU is given at a time: a PreActResNet-18 of width 64 took 8.5 ms an image at 64, and 10.8 ms at 128.
_PIECE = 64
# What is compiled is compiled once for each of these sizes, the largest first: samples leave an attack one by one, and
# code for batches of any size took a third longer.
_COMPILED_SIZES = (64, 32, SMALLEST_BATCH)


def pieces_of(rows: Tensor, dtype: torch.dtype, compiled: bool) -> Sequence[Tensor]:
    """What goes through a model at a time; the last piece may end in copies of the last row.

    Args:
        rows: shape (N, C, H, W), N at least 1.
        dtype: What the model computes in.
        compiled: Whether the model is.

    Returns:
        One piece where there is no CPU. On a CPU each has at least 16 rows, in float32 fewer than 128 (there, pieces
        whose activations stay in the cache are faster), and 16, 32 or 64 for a compiled model.
    """
    if rows.device.type != "cpu":
        return (rows,)
    if not compiled:
        rows = padded(rows)
        return rows.tensor_split(max(1, len(rows) // _PIECE)) if dtype == torch.float32 else (rows,)
    rows = _filled(rows, -len(rows) % SMALLEST_BATCH)
    left, sizes = len(rows), []
    for size in _COMPILED_SIZES:
        sizes += left // size * [size]
        left %= size
    return torch.split(rows, sizes)


def padded(rows: Tensor) -> Tensor:
    """At least 16 rows on a CPU: the last is repeated."""
    return _filled(rows, SMALLEST_BATCH - len(rows)) if rows.device.type == "cpu" else rows


def _filled(rows: Tensor, missing: int) -> Tensor:
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing > 0 else rows
