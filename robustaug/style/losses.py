"""Content, style and total-variation losses of Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional
Neural Networks", CVPR 2016; one number an image, always in float32.

Deviation from the paper: both losses are relative squared errors (divided by the target's squared norm), where the
paper has sums of squares with constants of the layer's size (equations 1 and 4). The minimiser of each is the same; the
scale no longer depends on the encoder, the layer or the image size, so one weight serves all.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robustaug.hardware import fast_products

# Guard of the divisions: the squared norm of an all-black image's features may be zero.
_TINY = 1e-12


def gram(features: Tensor) -> Tensor:
    """Gram matrices, equation 3: ``G_ij = sum_k F_ik F_jk``, here divided by the number of positions k.

    Deviation: the division, so that images and paintings of different sizes compare (the paper divides in equation 4).

    Args:
        features: (N, C, h, w), any float dtype.

    Returns:
        (N, C, C), float32, symmetric and positive semi-definite.
    """
    positions = features.flatten(2).mT  # (N, positions, C): contiguous where the features are channels_last
    return cast(Tensor, _Gram.apply(positions))


class _Gram(torch.autograd.Function):
    """``X^T X / positions`` with the gradient as one product, ``X (D + D^T) / positions``, in the layout of X.

    Autograd's own takes two products in two layouts, which made the whole optimisation a third slower.
    """

    @staticmethod
    def forward(ctx: Any, positions: Tensor) -> Tensor:
        ctx.save_for_backward(positions)
        x = _at_least_float32(positions)
        with _products_of(positions):
            return x.mT @ x / x.shape[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (positions,) = ctx.saved_tensors
        x = _at_least_float32(positions)
        with _products_of(positions):
            return (x @ ((gradient + gradient.mT) / x.shape[1])).to(positions.dtype)


@contextmanager
def _products_of(features: Tensor) -> Iterator[None]:
    """Products in float32; of bfloat16 features on the matrix units, which is exact (and twice as fast)."""
    products = fast_products(features.device) if features.dtype == torch.bfloat16 else nullcontext()
    with torch.autocast(features.device.type, enabled=False), products:
        yield


def relative_error(value: Tensor, target: Tensor) -> Tensor:
    """``||value - target||^2 / ||target||^2`` of each sample: (N,), float32."""
    value, target = _at_least_float32(value).flatten(1), _at_least_float32(target).flatten(1)
    return (value - target).square().sum(1) / target.square().sum(1).clamp_min(_TINY)


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Equation 1, ``1/2 sum (F - P)^2``, as a relative error ``||F - P||^2 / ||P||^2``.

    Args:
        features: F, (N, C, h, w), of the images being made.
        target: P, of the same shape, of the content images.

    Returns:
        (N,), float32.
    """
    return relative_error(features, target)


def style_loss(
    grams: Mapping[str, Tensor], targets: Mapping[str, Tensor], shares: Mapping[str, float] | None = None
) -> Tensor:
    """Equations 4 and 5, ``sum_l w_l E_l``, with ``E_l = ||G - A||^2 / ||A||^2``.

    Args:
        grams: G of each style layer, (N, C, C), of the images being made.
        targets: A of the same layers.
        shares: w of each layer, with a sum of one; None for equal ones.

    Returns:
        (N,), float32: about 1 where the image knows nothing of the painting, 0 where every Gram matrix agrees.
    """
    shares = shares or dict.fromkeys(targets, 1 / len(targets))
    return weighted_sum({layer: relative_error(grams[layer], target) for layer, target in targets.items()}, shares)


def weighted_sum(values: Mapping[str, Tensor], shares: Mapping[str, float]) -> Tensor:
    """The sum over the layers of ``values``, each times its share."""
    return torch.stack([value * shares[layer] for layer, value in values.items()]).sum(0)


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels; not in the paper, a common smoothness prior.

    Args:
        images: (N, C, H, W) with H, W of 2 or more.

    Returns:
        (N,), float32.
    """
    images = _at_least_float32(images)
    down = (images[:, :, 1:] - images[:, :, :-1]).square().flatten(1).mean(1)
    across = (images[..., 1:] - images[..., :-1]).square().flatten(1).mean(1)
    return down + across


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
