"""What processes exchange, on two real ones: rows, sums, gradients, failures; and a batch norm over all of them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from distributed_cases import MIX, PARTS, ROWS, normalised
from training_cases import composite, pgd

from robustaug.data.composite import Kind
from robustaug.errors import RobustAugError
from robustaug.training.distributed import Processes, joined, present


def test_what_processes_exchange(by_two: Path) -> None:
    batch, last = composite(MIX).batch(0, 8), torch.arange(ROWS * 3.0).view(ROWS, 3)
    for rank in range(2):
        found: dict[str, Any] = torch.load(by_two / f"exchange-{rank}.pt")
        assert found["own keys"] == batch.keys[rank::2]
        whole = torch.cat([torch.full((8 - ROWS, 3), -1.0), last])  # the batch whose last rows these are
        assert torch.equal(found["own of last"], whole[rank::2][whole[rank::2][:, 0] >= 0])
        assert torch.equal(found["joined"], last)
        assert torch.equal(found["joined integers"], last.long())
        assert found["total"].tolist() == [2.0, 1.0]
        assert torch.equal(found["gradients"][0], torch.full((2, 3), 1.5))
        assert (found["gradients"][1], float(found["gradients"][2])) == (None, 5.0)
        assert found["agree"] == [True, False, False]
        assert found["read"] == "written"
        # d/dv of (2 v0)^2 + (2 v0)^2 and (3 + 4) (2 v1)^2, at v = (1, 2): both losses, through the own summand alone
        assert found["gradient of a total"].tolist() == [8.0, 56.0]


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("parts", PARTS)
def test_a_batch_norm_over_all_processes_is_one_over_the_whole_batch(
    by_two: Path, parts: str, dimensions: int, offset: float
) -> None:
    whole = normalised(slice(None), dimensions, offset, Processes())
    found = [torch.load(by_two / f"{parts}-{dimensions}-{offset:g}-{rank}.pt") for rank in range(2)]
    # 1e4 has a spacing of 2^-10 in float32: what a mean loses by that, both lose
    tolerance = {"rtol": 1e-4, "atol": 2e-5 if offset == 0 else 5e-3}
    for name in ("result", "input", "evaluated"):
        assert torch.allclose(torch.cat([part[name] for part in found]), whole[name], **tolerance), name
    assert torch.allclose(found[0]["parameters"] + found[1]["parameters"], whole["parameters"], rtol=1e-3, atol=0.03)
    for part in found:
        assert torch.allclose(part["mean"], whole["mean"], rtol=1e-6, atol=1e-6)
        assert torch.allclose(part["variance"], whole["variance"], rtol=1e-4)
        assert part["batches"] == whole["batches"] == 2


def test_a_failure_stops_all(by_two: Path) -> None:
    of_main, of_other = (torch.load(by_two / f"exchange-{rank}.pt")["said"] for rank in range(2))
    elsewhere = "another process of this run failed; its own line says why"
    assert of_main == [elsewhere, "no such folder"]
    assert of_other == ["the disk is full", elsewhere]


def test_a_process_that_was_killed_is_one_line_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("Connection reset by peer\nand a backtrace")

    monkeypatch.setattr("torch.distributed.all_reduce", broken)
    value = torch.ones(2, requires_grad=True)
    for exchange in (Processes(0, 2).total, Processes(0, 2).differentiable_total):
        with pytest.raises(RobustAugError, match=r"process of this run is gone \(Connection reset by peer\); see what"):
            exchange(value)


def test_alone_nothing_is_by_two() -> None:
    alone, value = Processes(), torch.tensor([1.0])
    assert alone.is_main
    assert torch.equal(alone.own_of_last(value), value)
    assert (
        alone.own(value) is alone.total(value) is alone.join_last(value) is alone.differentiable_total(value) is value
    )
    assert alone.agree(1)
    with pytest.raises(KeyboardInterrupt), alone.together():
        raise KeyboardInterrupt
    with joined() as processes:
        assert processes == alone == present()


@pytest.mark.parametrize(
    ("count", "rows", "adversarial", "mode", "said"),
    [
        (3, 8, 4, "eval", "training.batch_size is 8 for all 3 processes together; set a multiple of it"),
        (4, 8, 2, "eval", "a batch has 2 adversarial rows for 4 processes"),
        (2, 8, 3, "train", "needs a multiple of 2 adversarial rows in a batch, not 3"),
        (2, 8, 4, "train", "needs an attack without early_exit"),
    ],
)
def test_batches_that_cannot_be_shared(count: int, rows: int, adversarial: int, mode: str, said: str) -> None:
    attack = type(pgd())(pgd().threat, early_exit=True)

    def batch(others: int, adversarial: int) -> dict[Kind, int]:
        return {"original": others, "stylised": 0, "adversarial": adversarial}

    with pytest.raises(RobustAugError, match=said) as caught:
        Processes(0, count).check(batch(rows - adversarial, adversarial), attack, mode)
    assert "\n" not in str(caught.value)
    Processes(0, 2).check(batch(5, 3), attack, "eval")
    Processes(0, 2).check(batch(8, 0), None, "train")
    Processes().check(batch(4, 3), attack, "train")
