"""Images kept on a device: where they fit, batches are made there, and hold the same."""

import pytest
import torch
from torch import Tensor

from robustaug.data.composite import CompositeDataset, Mix
from robustaug.data.imageset import ImageSet
from robustaug.data.variants import VariantSet

ELSEWHERE = torch.device("meta")  # a device that every machine has; it holds shapes alone


def data(mix: Mix, *, styled: bool) -> CompositeDataset:
    images = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 3, 2, 2).contiguous()
    keys = tuple(f"k{index}" for index in range(12))
    originals = ImageSet(images, torch.arange(12) % 3, keys, keys, ("a", "b", "c"))
    variants = VariantSet(images[:5] + 100, originals.labels[:5], keys[:5], ({},) * 5) if styled else None
    return CompositeDataset(originals, variants, mix, seed=3)


@pytest.mark.parametrize("styled", [False, True])
def test_images_move_where_they_fit(monkeypatch: pytest.MonkeyPatch, styled: bool) -> None:
    monkeypatch.setattr("robustaug.data.composite.free_memory", lambda device: 4 * (12 + 5 * styled) * 12)
    here = data(Mix(0.5, 0.5, 0) if styled else Mix(), styled=styled)
    moved = here.on(ELSEWHERE)
    batch = moved.batch(2, 4)
    assert batch.images.device == ELSEWHERE
    assert batch.images.shape == (4, 3, 2, 2)
    assert batch.images.dtype == torch.float32
    before = here.batch(2, 4)
    assert torch.equal(batch.labels, before.labels)  # all else stays on the CPU
    assert torch.equal(batch.adversarial, before.adversarial)
    assert batch.keys == before.keys
    assert list(batch.provenance) == list(before.provenance)
    assert before.images.device.type == "cpu"  # the given data set is as it was
    assert moved.originals.images.device.type == "cpu"


@pytest.mark.parametrize("styled", [False, True])
def test_images_stay_where_a_quarter_of_the_memory_does_not_hold_them(
    monkeypatch: pytest.MonkeyPatch, styled: bool
) -> None:
    monkeypatch.setattr("robustaug.data.composite.free_memory", lambda device: 4 * (12 + 5 * styled) * 12 - 1)
    here = data(Mix(0.5, 0.5, 0) if styled else Mix(), styled=styled)
    assert here.on(ELSEWHERE) is here


def test_nothing_is_copied_on_one_device() -> None:
    here = data(Mix(), styled=False)
    assert here.on(torch.device("cpu")) is here


def test_no_float_images_pass_from_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only numbers of rows do."""
    sent: list[Tensor] = []
    monkeypatch.setattr("robustaug.data.composite.free_memory", lambda device: 1 << 30)
    moved = data(Mix(0.5, 0.5, 0), styled=True).on(ELSEWHERE)
    monkeypatch.setattr(
        "robustaug.data.composite.to_device", lambda tensor, device: sent.append(tensor) or tensor.to(device)
    )
    moved.batch(0, 8)
    assert {tensor.dtype for tensor in sent} == {torch.int64}
    assert sum(tensor.numel() for tensor in sent) == 4 + 4 + 8
