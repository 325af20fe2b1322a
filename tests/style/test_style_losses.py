"""Losses against closed forms."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustaug.style.losses import content_loss, gram, relative_error, style_loss, total_variation


def test_gram_is_the_mean_outer_product_of_positions() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels, two positions: (1, 3) and (2, 4)
    expected = (torch.tensor([[1.0, 3.0], [3.0, 9.0]]) + torch.tensor([[4.0, 8.0], [8.0, 16.0]])) / 2
    assert torch.equal(gram(features), expected[None])


@given(n=st.integers(1, 3), c=st.integers(1, 6), h=st.integers(1, 5), w=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_gram_forgets_where_things_are_and_is_positive_semidefinite(n: int, c: int, h: int, w: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, c, h, w, generator=generator, dtype=torch.float64)
    found = gram(features)
    order = torch.randperm(h * w, generator=generator)
    shuffled = features.flatten(2)[..., order].view(n, c, h, w)
    torch.testing.assert_close(gram(shuffled), found)
    torch.testing.assert_close(found, torch.einsum("ncp,ndp->ncd", features.flatten(2), features.flatten(2)) / (h * w))
    assert torch.linalg.eigvalsh(found).min() > -1e-9


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients(memory_format: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 4, 2, generator=generator, dtype=torch.float64).contiguous(memory_format=memory_format)
    weights = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)  # not symmetric
    target = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    images = features.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: (gram(x) * weights).sum((1, 2)), images)
    assert torch.autograd.gradcheck(lambda x: style_loss({"a": gram(x)}, {"a": target}), images)
    assert torch.autograd.gradcheck(lambda x: content_loss(x, features.flip(0)), images)
    assert torch.autograd.gradcheck(total_variation, images)


def test_gram_of_bfloat16_features_is_exact_float32() -> None:
    features = torch.rand(2, 8, 16, 16, generator=torch.Generator().manual_seed(1)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gram(features)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, gram(features.double()).float(), rtol=1e-5, atol=1e-6)


def test_relative_errors() -> None:
    target = torch.tensor([[[[3.0, 4.0]]], [[[1.0, 0.0]]]])
    found = content_loss(target + torch.tensor([[[[0.0, 5.0]]], [[[0.0, 0.5]]]]), target)
    assert torch.equal(found, torch.tensor([1.0, 0.25]))
    assert torch.equal(relative_error(7 * target, target), torch.tensor([36.0, 36.0]))  # whatever the target's scale
    assert torch.isfinite(relative_error(target, torch.zeros_like(target))).all()


def test_style_loss_averages_layers_and_keeps_images_apart() -> None:
    targets = {"a": torch.eye(2).expand(2, 2, 2), "b": 5 * torch.eye(3).expand(2, 3, 3)}
    grams = {
        "a": torch.stack([torch.eye(2), 3 * torch.eye(2)]),
        "b": torch.stack([torch.zeros(3, 3), 5 * torch.eye(3)]),
    }
    assert torch.equal(style_loss(grams, targets), torch.tensor([0.5, 2.0]))  # (0 + 1) / 2 and (4 + 0) / 2


def test_total_variation_of_a_ramp() -> None:
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(2, 3, 5, 4) / 10
    torch.testing.assert_close(total_variation(ramp), torch.full((2,), 0.01))
    assert total_variation(torch.full((1, 3, 4, 4), 0.3)).item() == 0
