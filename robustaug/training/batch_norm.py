"""Batch norm over the whole batch, where several processes hold a part of it each."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustaug.training.distributed import Processes


@contextmanager
def whole_batch_norms(model: nn.Module, processes: Processes) -> Iterator[None]:
    """Within the block, batch norms in training mode take the statistics of all processes' images together.

    The modules stay what they are, in type, name and place: only their forward is another. All processes must make the
    same passes; the number of images may differ. On one process nothing changes. Torch's own ``SyncBatchNorm`` refuses
    tensors on a CPU and replaces the modules.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)] if processes.count > 1 else []
    try:
        for norm in norms:
            norm.forward = partial(_forward, norm, processes)  # type: ignore[method-assign]
        yield
    finally:
        for norm in norms:
            del norm.forward


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _forward(norm: _BatchNorm, processes: Processes, images: Tensor) -> Tensor:
    """Ioffe and Szegedy (2015), algorithm 1, in float32; means first, then squares around them: nothing cancels."""
    if not norm.training:
        return type(norm).forward(norm, images)
    norm._check_input_dim(images)  # type: ignore[no-untyped-call]
    values = images.float()
    summed = [dimension for dimension in range(values.dim()) if dimension != 1]
    shape = [1, -1] + [1] * (values.dim() - 2)
    count = values.new_full((1,), values.numel() // values.shape[1])
    totals = processes.differentiable_total(torch.cat([values.sum(summed), count]))
    count = totals[-1].detach()
    mean = totals[:-1] / count
    centred = values - mean.view(shape)
    variance = processes.differentiable_total(centred.square().sum(summed)) / count
    _remember(norm, mean.detach(), variance.detach() * count / (count - 1))
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    result = centred * scale.view(shape)
    if norm.bias is not None:
        result = result + norm.bias.view(shape)
    return result.to(images.dtype)


@torch.no_grad()
def _remember(norm: _BatchNorm, mean: Tensor, unbiased: Tensor) -> None:
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(unbiased, share)
